"""uvicorn's HTTP/1.1 protocol with bounds on what one connection may cost.

One request is read at a time: the bytes of the next one wait, unparsed, until the response to the previous is written,
and when more than a few requests wait the socket is not read.

A request for a WebSocket is handed over, with the connection, if there is one at its path. Every other upgrade, such as
to `h2c`, is ignored, as RFC 9110 allows. The parser takes what follows such a head for the other protocol, so a new
parser reads the same head without the upgrade.
"""

from __future__ import annotations

import asyncio
import math

import httptools

from service.server.bounded_lifetime import MAX_DROPPED_BODIES, BoundedLifetime
from service.server.connection_parts import AnsweredCycle, OpenTransport
from service.server.edge.host_check import HostCheck
from service.server.edge.http_1_0 import PlainSend
from service.server.request_head import (
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
    too_many_websockets,
)
from service.server.request_pieces import RequestPieces
from service.server.websocket.connection import WebSocketConnection
from service.server.websocket.handover import Handover
from service.server.websocket.handshake import RawHeaders, accept_headers, offers_websocket, websocket_scope
from service.server.websocket.places import SharedByWebSockets

#: Requests that wait on one connection are held up to this size; beyond it the socket is not read.
_MAX_HELD_BYTES = 16 * 1024
#: Responses in one turn of the event loop.
_MAX_ANSWERS_IN_TURN = 8
#: A body in chunks may take so many times its size on the wire, and some bytes more. A chunk has at least five bytes
#: of framing, and costs the parser as much as a kilobyte of body.
_MAX_CHUNK_OVERHEAD = 2
_FREE_CHUNK_OVERHEAD_BYTES = 256 * 1024


class BoundedProtocol(BoundedLifetime):
    """Use a subclass with `responder`, `open_connections` and `websockets` set, and `host_check` where that is done."""

    host_check: HostCheck | None = None
    websockets: SharedByWebSockets

    #: The bytes of requests that wait begin at the position.
    _held, _held_from, _num_held_bytes = b"", 0, 0
    _num_answers_in_turn = 0

    #: Of the request that is being read.
    is_chunked = False
    _num_wire_bytes = _num_body_bytes = _num_counted_bytes = 0
    _head_is_timed = True  # the first head is timed from the connection
    _body_began_s = 0.0
    #: The headers of the response to a request for a WebSocket.
    _accept: RawHeaders | None = None
    _address = ""

    @property
    def num_held_bytes(self) -> int:
        """Of requests that wait for their turn."""
        return self._num_held_bytes

    @property
    def num_left_bytes(self) -> int:
        """What is missing of a body of declared length."""
        return self._pieces.num_left_bytes

    def may_take(self, headers: RawHeaders, num_bytes: int) -> bool:
        """Whether a request with these headers is for a host that is served here, and there is room for its body.

        The body is then counted until the request is answered.
        """
        if not self.open_connections.make_room_for_bodies(num_bytes):
            return False
        if self.host_check is not None:
            try:
                self.host_check.check(headers, (self.client or ("",))[0], (self.server or ("",))[0])
            except Refused:
                return False
        self._num_counted_bytes += num_bytes
        self.open_connections.body_bytes += num_bytes
        self._head_is_timed = False  # the next one is
        return True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Read requests from the connection."""
        self._pieces = RequestPieces()
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Parse what arrived, or hold it while an earlier request is being answered."""
        if self.is_ending:
            self.drop(len(data))
        elif self._held:
            self._hold(self._held[self._held_from :] + data, 0)
        else:
            self._consume(data, 0)
            if self.is_chunked and not self.flow.read_paused:
                self._read_in_next_turn()

    def resume_writing(self) -> None:
        """The client has caught up."""
        super().resume_writing()
        self._continue()

    def _read_in_next_turn(self) -> None:
        """Let others have their turn: the event loop reads from a socket as long as there is something to read."""
        self.flow.pause_reading()
        self.loop.call_soon(self.flow.resume_reading)

    def release(self) -> None:
        """Release the body and the requests that wait."""
        self._release_body()
        self._release_held()

    # Requests that wait for their turn.

    def _consume(self, data: bytes, start: int) -> None:
        """Parse request by request, as far as they need not wait."""
        size = len(data)
        self._num_answers_in_turn = 0
        while start < size and not self.is_ending:
            if self._must_wait():
                self._hold(data, start)
                return
            end = self._pieces.end(data, start)
            self._feed(data if end - start == size else data[start:end])
            start = end
        if self._accept is not None:
            self._hand_over(self._accept, data[start:])
            return
        if self._num_held_bytes or self.flow.is_held:
            self._release_held()
        if not self.is_ending:
            self._note_progress()

    def _must_wait(self) -> bool:
        """Whether the next request has to wait: for the previous response, or until the client has read it."""
        if self.is_in_body or self.num_head_bytes:
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
        self.deadline_s = math.inf
        if not self.open_connections.make_room_for_bodies():
            self.end_after_response("too_many_body_bytes")
        elif num_bytes > _MAX_HELD_BYTES:
            self.flow.hold()

    def _release_held(self) -> None:
        self.open_connections.body_bytes -= self._num_held_bytes
        self._held, self._held_from, self._num_held_bytes = b"", 0, 0
        if self.flow.is_held:
            self.flow.release()

    def _continue(self) -> None:
        """Go on with the requests that wait."""
        self._num_answers_in_turn = 0
        if self._held and not self.transport.is_closing() and not self._must_wait():
            data, self._held = self._held, b""
            self._consume(data, self._held_from)

    def _feed(self, piece: bytes) -> None:
        """Parse a piece, which ends within a request or at its end."""
        if self.is_in_body:
            self._num_wire_bytes += len(piece)
        else:
            self.num_head_bytes += len(piece)
        try:
            self._parse(piece)
            if self.is_chunked:
                self._check_chunks()
            elif self.num_head_bytes and not self.is_in_body:
                self._check_head_size()
        except Refused as error:
            self.refuse(error)

    def _parse(self, piece: bytes) -> None:
        """Raises Refused."""
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            if self._accepts_websocket():
                return
            method, version = self.parser.get_method(), self.parser.get_http_version()
            head = head_without_upgrade(method, self.url, version, self.headers)
            self.parser = httptools.HttpRequestParser(self)
            self._parse(head)
        except httptools.HttpParserError as error:
            if isinstance(error.__context__, Refused):  # raised by a method that the parser called
                raise error.__context__ from None
            raise malformed(str(error)) from None

    def _accepts_websocket(self) -> bool:
        """Whether the request gets a WebSocket. Raises Refused if it asks for one in a wrong way."""
        method, version = self.parser.get_method(), self.parser.get_http_version()
        if not offers_websocket(method, version, self.headers) or not self.responder.has_websocket(self.url):
            return False
        self._check_head_size()
        num_bytes, is_chunked, _ = check_head(method, version, self.headers)
        if num_bytes or is_chunked:
            return False
        self.is_in_body = True  # its head is complete, whatever becomes of it
        accept = accept_headers(self.headers)
        self._address = self.responder.client_of((self.client or ("",))[0], self.headers)
        if not self.websockets.places.make_room(self._address):
            raise too_many_websockets(self.websockets.places.max_each)
        self._accept = accept
        self.is_ending = True
        return True

    def _hand_over(self, accept: RawHeaders, rest: bytes) -> None:
        """Leave the connection to a WebSocket, with what the client has sent already."""
        self._release_held()
        self._stall_watch.cancel()
        self.open_connections.forget(self)
        self.connections.discard(self)
        self.cycle = None
        self.parser = None  # type: ignore[assignment]  # as uvicorn does: the two hold each other
        scope = websocket_scope(self.scope, self.url)
        shared = self.websockets, self._address
        handover = Handover(self.app, scope, accept, self.server_state, self.open_connections, self.loop, *shared)
        websocket = WebSocketConnection(handover)
        self.flow.pause_reading()  # it is read in another way from here on
        self.transport.set_protocol(websocket)
        websocket.connection_made(self.transport)
        if rest:
            websocket.take_bytes(rest)

    def _check_head_size(self) -> None:
        """Raises Refused if the head is too large so far."""
        max_head_bytes = self.open_connections.limits.max_head_bytes
        if self.num_head_bytes > max_head_bytes:
            raise headers_too_large(f"{max_head_bytes} bytes")

    def _check_chunks(self) -> None:
        """Raises Refused if a body in chunks is mostly framing."""
        allowed = _MAX_CHUNK_OVERHEAD * self._num_body_bytes + _FREE_CHUNK_OVERHEAD_BYTES
        if self._num_wire_bytes > allowed:
            raise malformed("its chunks are mostly framing")

    # What the parser calls, in this order.

    def on_url(self, url: bytes) -> None:
        """Collect the request target."""
        self.url += url
        if len(self.url) > MAX_TARGET_BYTES:
            raise target_too_long()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header. Trailers are ignored: they must not change what the headers said."""
        if self.is_in_body:
            return
        headers = self.headers
        if len(headers) >= MAX_HEADERS:
            raise headers_too_large(f"{MAX_HEADERS} headers")
        headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Check the head, and begin to answer the request."""
        parser = self.parser
        method, version = parser.get_method(), parser.get_http_version()
        if self.host_check is not None:
            peer, own_address = (self.client or ("",))[0], (self.server or ("",))[0]
            self.host_check.check(self.headers, peer, own_address)
        if parser.should_upgrade() and method != b"CONNECT":
            return
        self._check_head_size()
        num_bytes, self.is_chunked, self.expect_100_continue = check_head(method, version, self.headers)
        self.is_in_body, self._pieces.num_left_bytes = True, num_bytes
        self._num_body_bytes = self._num_wire_bytes = self._num_dropped_bytes = 0
        self._body_began_s = 0.0
        if num_bytes > self.max_body_bytes and num_bytes > (most := self.responder.max_body_bytes(method, self.url)):
            self._refuse_body(num_bytes, most)
        elif num_bytes and not self.open_connections.has_room_for(num_bytes):
            raise no_room("too_many_body_bytes")
        else:
            self.begin_request()
        self.has_cycle = True

    def begin_request(self) -> None:
        """Make the cycle of the request, whose head is complete."""
        if self.url == b"*" and self.parser.get_method() == b"OPTIONS":  # the whole server
            self.url = b"/"
        try:
            super().on_headers_complete()
        except httptools.HttpParserInvalidURLError:
            raise malformed("its target is neither a path nor a URL") from None
        self.cycle.transport = OpenTransport(self.transport)
        if self.parser.get_http_version() == "1.0":
            self.cycle.send = PlainSend(self.cycle, self.parser.should_keep_alive())

    def _refuse_body(self, num_bytes: int, most: int) -> None:
        """413. The connection stays usable if it takes little to read what was announced."""
        refused = body_too_large(most)
        is_much = num_bytes > MAX_DROPPED_BODIES * self.max_body_bytes
        is_old = self.parser.get_http_version() == "1.0"
        if is_much or is_old or self.expect_100_continue or not self.parser.should_keep_alive():
            raise refused
        self.cycle = AnsweredCycle()
        self.write_response(refused.failure, is_last=False)
        self.on_response_complete()

    def on_body(self, body: bytes) -> None:
        """Hand over a part of the body, or drop it if the request has been answered."""
        if self.is_ending:
            return
        num_bytes = len(body)
        self._num_body_bytes += num_bytes
        if self.cycle.response_complete:
            self.drop(num_bytes)
            return
        self._num_counted_bytes += num_bytes
        self.open_connections.body_bytes += num_bytes
        self.take_body(body)

    def take_body(self, body: bytes) -> None:
        """Give a part of the body to the cycle."""
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is complete, unless it will be read again without its upgrade."""
        if not self.is_in_body or self.is_ending:
            return
        self.is_in_body = self.is_chunked = self.has_cycle = self._head_is_timed = False
        self.num_head_bytes, self.headers = 0, []
        if self._body_began_s:
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
        if self.is_in_body and self.expect_100_continue:
            # Whether the client will send the body is not known, so neither is where its next request begins.
            self.end("refused")
            self.linger()
        elif self._held:
            self.loop.call_soon(self._continue)
        elif not self.is_in_body:
            self.wait_for_client(self.open_connections.limits.keep_alive_s)

    # What is held, and how long the client may take for more.

    def _note_progress(self) -> None:
        """Set the deadline: all that has arrived is parsed."""
        if self.is_in_body:
            self._expect_more_body()
        elif not self.num_head_bytes:
            if self.cycle is not None and not self.cycle.response_complete:
                self.deadline_s = math.inf
        elif not self._head_is_timed:
            self._head_is_timed = True
            self.wait_for_client(self.open_connections.limits.head_timeout_s)

    def _expect_more_body(self) -> None:
        """A body has a time limit, and each byte that arrives extends it: a slow line is not an attack."""
        limits = self.open_connections.limits
        self._body_began_s = self._body_began_s or self.loop.time()
        allowed_s = limits.body_timeout_s + self._num_body_bytes / limits.min_upload_bytes_per_s
        self.deadline_s, self.allowed_s = self._body_began_s + allowed_s, limits.body_timeout_s
        self.open_connections.note_body_grew(self)

    def _release_body(self) -> None:
        """The body of the request is not held any more."""
        self.open_connections.body_bytes -= self._num_counted_bytes
        self._num_counted_bytes = 0
