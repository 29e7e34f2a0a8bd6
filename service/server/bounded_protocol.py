"""uvicorn's HTTP/1.1 protocol with bounds on what one connection may cost.

One request is read at a time: the bytes of the next one wait, unparsed, until the response to the previous is written,
and when more than a few requests wait the socket is not read.

An upgrade to another protocol, such as `h2c`, is ignored, as RFC 9110 allows. The parser takes what follows such a head
for the other protocol, so a new parser reads the same head without the upgrade.
"""

from __future__ import annotations

import asyncio
import math
from typing import Any, Protocol

import httptools
from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from service.api.error_table import Failure
from service.api.request_scope import Headers
from service.server.connection_parts import AnsweredCycle, HeldFlow, OpenTransport
from service.server.open_connections import EndReason, OpenConnections, RoomReason
from service.server.request_head import (
    FRAMING_HEADERS,
    MAX_HEADERS,
    MAX_TARGET_BYTES,
    Refused,
    body_too_large,
    check_head,
    head_without_upgrade,
    headers_too_large,
    malformed,
    no_room,
    target_too_long,
    too_late,
)
from service.server.request_pieces import RequestPieces

#: Requests that wait on one connection are held up to this size; beyond it the socket is not read.
_MAX_HELD_BYTES = 16 * 1024
#: Responses in one turn of the event loop.
_MAX_ANSWERS_IN_TURN = 8
#: Framing of a body in chunks, in multiples of the body and beyond them: a chunk of one byte takes six.
_MAX_CHUNK_OVERHEAD = 8
_FREE_CHUNK_OVERHEAD_BYTES = 64 * 1024
#: After the last response the connection stays half open, since closing it with unread data would reset it before the
#: client has read the response.
_LINGER_S = 2.0
_LINGER_BYTES = 4 * 1024 * 1024
#: The body of a request that was answered early is dropped up to this multiple of what is allowed.
_MAX_DROPPED_BODIES = 2


class Refuser(Protocol):
    """What reports requests that are refused before their route is known: the application."""

    def turn_away(self, failure: Failure, method: str, headers: Headers, *, is_counted: bool) -> Response: ...


class BoundedProtocol(HttpToolsProtocol):
    """Use a subclass with `responder` and `open_connections` set."""

    responder: Refuser
    open_connections: OpenConnections
    flow: HeldFlow
    cycle: Any

    #: When the service stops waiting for the client; infinite while the client waits for the service.
    deadline_s = math.inf
    _stall_timer: asyncio.TimerHandle | None = None
    _num_unsent_bytes = 0

    _is_ending = False  # no more requests are read
    _num_dropped_bytes = 0

    #: The bytes of requests that wait begin at the position.
    _held, _held_from, _num_held_bytes = b"", 0, 0
    _num_answers_in_turn = 0

    #: Of the request that is being read.
    _is_in_body = is_chunked = False
    _num_head_bytes = _num_wire_bytes = _num_body_bytes = _num_counted_bytes = 0
    _has_cycle = False
    _head_is_timed = True  # the first head is timed from the connection
    _body_began_s = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Give the client time for its first request, if there is room for the connection."""
        super().connection_made(transport)
        self.flow = HeldFlow(transport)
        self._pieces = RequestPieces()
        self.deadline_s = self.loop.time() + self.open_connections.limits.head_timeout_s
        admission = self.open_connections.admit(self)
        if admission == "refused":
            self._refuse(no_room("too_many_connections"))
        elif admission == "closed":
            self._end("too_many_connections")
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Drop what was being received or answered, and the requests that wait."""
        self.open_connections.forget(self)
        self._release_body()
        self._release_held()
        self._cancel_stall_timer()
        self.deadline_s = math.inf
        super().connection_lost(exc)
        self.cycle = None  # else the two hold each other until the next garbage collection

    def data_received(self, data: bytes) -> None:
        """Parse what arrived, or hold it while an earlier request is being answered."""
        if self._is_ending:
            self._drop(len(data))
        elif self._held:
            self._hold(self._held[self._held_from :] + data, 0)
        else:
            self._consume(data, 0)

    def _consume(self, data: bytes, start: int) -> None:
        """Parse request by request, as far as they need not wait."""
        size = len(data)
        self._num_answers_in_turn = 0
        while start < size and not self._is_ending:
            if self._must_wait():
                self._hold(data, start)
                return
            end = self._pieces.end(data, start)
            self._feed(data if end - start == size else data[start:end])
            start = end
        self._release_held()
        if not self._is_ending:
            self._note_progress()

    def _must_wait(self) -> bool:
        """Whether the next request has to wait: for the previous response, or until the client has read it."""
        if self._is_in_body or self._num_head_bytes:
            return False
        if self.cycle is not None and not self.cycle.response_complete:
            return True
        if self._num_answers_in_turn >= _MAX_ANSWERS_IN_TURN:
            self.loop.call_soon(self._continue)
            return True
        return self.flow.write_paused

    def _hold(self, data: bytes, start: int) -> None:
        """Keep the bytes of requests that wait."""
        num_bytes = len(data) - start
        self.open_connections.body_bytes += num_bytes - self._num_held_bytes
        self._held, self._held_from, self._num_held_bytes = data, start, num_bytes
        if not self.open_connections.has_room_for(0):
            self._release_held()
            self._end("too_many_body_bytes")
            self._close_after_response()
        elif num_bytes > _MAX_HELD_BYTES:
            self.flow.hold()

    def _release_held(self) -> None:
        self.open_connections.body_bytes -= self._num_held_bytes
        self._held, self._held_from, self._num_held_bytes = b"", 0, 0
        if self.flow.is_held:
            self.flow.release()

    def _continue(self) -> None:
        """Go on with the requests that wait."""
        if self._held and not self.transport.is_closing() and not self._must_wait():
            data, self._held = self._held, b""
            self._consume(data, self._held_from)

    def _feed(self, piece: bytes) -> None:
        """Parse a piece, which ends within a request or at its end."""
        if self._is_in_body:
            self._num_wire_bytes += len(piece)
        else:
            self._num_head_bytes += len(piece)
        try:
            self._parse(piece)
            self._check_size()
        except Refused as error:
            self._refuse(error)

    def _parse(self, piece: bytes) -> None:
        """Raises Refused."""
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            method, version = self.parser.get_method(), self.parser.get_http_version()
            head = head_without_upgrade(method, self.url, version, self.headers)
            self.parser = httptools.HttpRequestParser(self)
            self._parse(head)
        except httptools.HttpParserError as error:
            if isinstance(error.__context__, Refused):  # raised by a method that the parser called
                raise error.__context__ from None
            raise malformed(str(error)) from error

    def _check_size(self) -> None:
        """Raises Refused if head or framing are too large."""
        if self._num_head_bytes > self.open_connections.limits.max_head_bytes and not self._is_in_body:
            raise headers_too_large(f"{self.open_connections.limits.max_head_bytes} bytes")
        allowed = _MAX_CHUNK_OVERHEAD * self._num_body_bytes + _FREE_CHUNK_OVERHEAD_BYTES
        if self.is_chunked and self._num_wire_bytes > allowed:
            raise malformed("its chunks are mostly framing")

    # What the parser calls, in this order.

    def on_message_begin(self) -> None:
        """Start to collect the head of a request."""
        super().on_message_begin()
        self._framing: list[tuple[bytes, bytes]] = []

    def on_url(self, url: bytes) -> None:
        """Collect the request target."""
        self.url += url
        if len(self.url) > MAX_TARGET_BYTES:
            raise target_too_long()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header. Trailers are ignored: they must not change what the headers said."""
        if self._is_in_body:
            return
        name = name.lower()
        if len(self.headers) >= MAX_HEADERS:
            raise headers_too_large(f"{MAX_HEADERS} headers")
        if name in FRAMING_HEADERS:
            self._framing.append((name, value))
        elif name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Check the head, and begin to answer the request."""
        parser = self.parser
        method, version = parser.get_method(), parser.get_http_version()
        if parser.should_upgrade() and method != b"CONNECT":
            return
        num_bytes, self.is_chunked = check_head(method, version, self._framing)
        self._is_in_body, self._pieces.num_left_bytes = True, num_bytes
        self._num_body_bytes = self._num_wire_bytes = self._num_dropped_bytes = 0
        self._body_began_s = 0.0
        if num_bytes > self.open_connections.limits.max_body_bytes:
            self._refuse_body(num_bytes)
        elif num_bytes and not self.open_connections.has_room_for(num_bytes):
            raise no_room("too_many_body_bytes")
        else:
            self.begin_request()
            self._has_cycle = True

    def begin_request(self) -> None:
        """Make the cycle of the request, whose head is complete."""
        try:
            super().on_headers_complete()
        except httptools.HttpParserInvalidURLError as error:
            raise malformed("its target is neither a path nor a URL") from error
        self.cycle.transport = OpenTransport(self.transport)

    def on_body(self, body: bytes) -> None:
        """Hand over a part of the body, or drop it if the request has been answered."""
        if self._is_ending:
            return
        if self.cycle.response_complete:
            self._drop(len(body))
            return
        self._num_body_bytes += len(body)
        self._num_counted_bytes += len(body)
        self.open_connections.body_bytes += len(body)
        self.take_body(body)

    def take_body(self, body: bytes) -> None:
        """Give a part of the body to the cycle."""
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is complete, unless it will be read again without its upgrade."""
        if not self._is_in_body or self._is_ending:
            return
        self._is_in_body = self.is_chunked = self._has_cycle = self._head_is_timed = False
        self._num_head_bytes, self.headers = 0, []
        self.open_connections.note_body_complete(self)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Go on with the next request, or wait for it."""
        self.server_state.total_requests += 1
        self._num_answers_in_turn += 1
        self._release_body()
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self._held:
            self.loop.call_soon(self._continue)
        elif not self._is_in_body:
            self.deadline_s = self.loop.time() + self.timeout_keep_alive

    # Limits of time and space.

    def pause_writing(self) -> None:
        """The client reads more slowly than we write."""
        super().pause_writing()
        self._watch_stall()

    def resume_writing(self) -> None:
        """The client has caught up."""
        super().resume_writing()
        self._cancel_stall_timer()
        self._continue()

    def _watch_stall(self) -> None:
        """End the connection unless the client reads something within the limit; and again."""
        self._num_unsent_bytes = self.transport.get_write_buffer_size()
        self._stall_timer = self.loop.call_later(self.open_connections.limits.unread_timeout_s, self._end_if_stalled)

    def _end_if_stalled(self) -> None:
        if self.transport.get_write_buffer_size() < self._num_unsent_bytes:
            self._watch_stall()
        else:
            self._end("unread")
            self.transport.abort()

    def _cancel_stall_timer(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def _note_progress(self) -> None:
        """Set the deadline: all that has arrived is parsed."""
        if self._is_in_body:
            self._expect_more_body()
        elif not self._num_head_bytes:
            if self.cycle is not None and not self.cycle.response_complete:
                self.deadline_s = math.inf
        elif not self._head_is_timed:
            self._head_is_timed = True
            self.deadline_s = self.loop.time() + self.open_connections.limits.head_timeout_s

    def _expect_more_body(self) -> None:
        """A body has a time limit, and each byte that arrives extends it: a slow line is not an attack."""
        limits = self.open_connections.limits
        self._body_began_s = self._body_began_s or self.loop.time()
        allowed_s = limits.body_timeout_s + self._num_body_bytes / limits.min_upload_bytes_per_s
        self.deadline_s = self._body_began_s + allowed_s
        self.open_connections.note_body_grew(self)

    def end_late(self) -> None:
        """The client has not sent its request in time."""
        self._end_waiting(too_late("the body" if self._is_in_body else "the headers"), "timeout")

    def end_for_room(self, reason: RoomReason) -> None:
        """Others need the room."""
        self._end_waiting(no_room(reason), reason)

    def _end_waiting(self, refused: Refused, reason: EndReason) -> None:
        """End a connection that waits for its client, with a response if a request has begun."""
        if self._is_ending:
            self.transport.abort()
        elif self._is_in_body or self._num_head_bytes:
            self._refuse(refused)
        else:
            self._end("idle" if reason == "timeout" else reason)
            self.transport.close()

    def _refuse(self, refused: Refused) -> None:
        """End the connection, with a last response unless the request in question already has one."""
        cycle = self.cycle if self._has_cycle else None
        is_begun = cycle is not None and not cycle.response_complete
        has_response = cycle is not None and (cycle.response_complete or getattr(cycle, "response_started", False))
        self._end(refused.reason)
        if is_begun:
            self.drop_request()
        if not has_response:
            self._write_response(refused.failure, is_last=True, is_counted=not is_begun)
        if is_begun and has_response:
            self.transport.abort()
        else:
            self._linger()

    def drop_request(self) -> None:
        """Make the cycle of an incomplete request end."""
        self.cycle.disconnected = True
        self.cycle.message_event.set()

    def _refuse_body(self, num_bytes: int) -> None:
        """413. The connection stays usable if it takes little to read what was announced."""
        limit = self.open_connections.limits.max_body_bytes
        refused = body_too_large(limit)
        if num_bytes > _MAX_DROPPED_BODIES * limit or self.expect_100_continue or not self.parser.should_keep_alive():
            raise refused
        self.cycle, self._has_cycle = AnsweredCycle(), True
        self._write_response(refused.failure, is_last=False)
        self.on_response_complete()

    def _write_response(self, failure: Failure, *, is_last: bool, is_counted: bool = True) -> None:
        method = self.parser.get_method().decode() if self._is_in_body else ""
        response = self.responder.turn_away(failure, method, self.headers or (), is_counted=is_counted)
        lines = [*self.server_state.default_headers, *response.raw_headers]
        if is_last:
            lines.append((b"connection", b"close"))
        head = b"".join([STATUS_LINE[response.status_code], *(b"%b: %b\r\n" % line for line in lines), b"\r\n"])
        self.transport.write(head if method == "HEAD" else head + bytes(response.body))

    def _end(self, reason: EndReason) -> None:
        """Read no more requests."""
        self._is_ending = True
        self._num_dropped_bytes = 0
        self.open_connections.count_ended(reason)
        self.open_connections.note_body_complete(self)

    def _linger(self) -> None:
        """Close once the client has had the chance to read the last response."""
        self.deadline_s = self.loop.time() + _LINGER_S
        self._release_body()
        self._release_held()
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    def _drop(self, num_bytes: int) -> None:
        """Drop what a client sends although it has its response."""
        self._num_dropped_bytes += num_bytes
        if self._is_ending and self._num_dropped_bytes > _LINGER_BYTES:
            self.transport.abort()
        elif not self._is_ending:
            if self._num_dropped_bytes > _MAX_DROPPED_BODIES * self.open_connections.limits.max_body_bytes:
                self._end("refused")
                self._linger()

    def _close_after_response(self) -> None:
        """Read nothing more, and close when the request that is being answered has its response."""
        self.flow.hold()
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
        else:
            self.cycle.keep_alive = False

    def _release_body(self) -> None:
        """The body of the request is not held any more."""
        self.open_connections.body_bytes -= self._num_counted_bytes
        self._num_counted_bytes = 0
