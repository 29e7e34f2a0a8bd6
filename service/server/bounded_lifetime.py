"""The lifetime of a bounded connection: room for it, deadlines, and its last response. A subclass reads requests."""

from __future__ import annotations

import asyncio
import math
from typing import Any, Protocol

from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.api.error_table import Failure
from service.api.request_scope import Headers
from service.server.connection_parts import HeldFlow, StallWatch, response_head
from service.server.open_connections import EndReason, OpenConnections, RoomReason
from service.server.request_head import Refused, no_room, too_late

#: After the last response the connection stays half open, since closing it with unread data would reset it before the
#: client has read the response.
_LINGER_S = 2.0
_LINGER_BYTES = 4 * 1024 * 1024
#: The body of a request that was answered early is dropped up to this multiple of what is allowed.
MAX_DROPPED_BODIES = 2


class Refuser(Protocol):
    """What reports requests that are refused before their route is known, and knows its WebSockets: the application."""

    def turn_away(
        self, failure: Failure, method: str, target: bytes, headers: Headers, *, is_counted: bool
    ) -> Response: ...
    def max_body_bytes(self, method: bytes, target: bytes) -> int: ...
    def has_websocket(self, target: bytes) -> bool: ...
    def client_of(self, peer: str, headers: Headers) -> str: ...


class BoundedLifetime(HttpToolsProtocol):
    """A connection that ends when its client is too slow, breaks a rule, or keeps room that others need.

    Attributes:
        deadline_s: when the service stops waiting for the client; infinite while the client waits for the service.
        allowed_s: how long the client was given by this deadline.
        is_ending: no more requests are read.
        num_head_bytes: of the head that is being read; 0 between requests.
        is_in_body: the head has been read, and the body is expected.
        has_cycle: `cycle` belongs to the request that is being read.
    """

    responder: Refuser
    open_connections: OpenConnections
    flow: HeldFlow
    cycle: Any

    deadline_s = math.inf
    allowed_s = 0.0
    is_ending = False
    num_head_bytes = 0
    is_in_body = has_cycle = False
    _num_dropped_bytes = 0

    @property
    def max_body_bytes(self) -> int:
        """The limit on the body of one request."""
        return self.open_connections.limits.max_body_bytes

    def release(self) -> None:
        """Release what is held for the connection: nothing is read from it any more."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Give the client time for its first request, if there is room for the connection."""
        super().connection_made(transport)
        limits = self.open_connections.limits
        self.flow = HeldFlow(transport)
        self._stall_watch = StallWatch(transport, self.loop, limits.unread_timeout_s)
        self.wait_for_client(limits.head_timeout_s)
        admission = self.open_connections.admit(self)
        if admission == "refused":
            self.refuse(no_room("too_many_connections"))
        elif admission == "closed":
            self.end("too_many_connections")
            transport.abort()

    def wait_for_client(self, allowed_s: float) -> None:
        """Give the client so long from now on."""
        self.deadline_s, self.allowed_s = self.loop.time() + allowed_s, allowed_s

    def connection_lost(self, exc: Exception | None) -> None:
        """Drop what was being received or answered, and the requests that wait."""
        self.open_connections.forget(self)
        self.release()
        self._stall_watch.cancel()
        self.deadline_s = math.inf
        super().connection_lost(exc)
        self.cycle = None  # else the two hold each other until the next garbage collection

    def pause_writing(self) -> None:
        """The client reads more slowly than we write."""
        super().pause_writing()
        self._stall_watch.start(self._end_stalled)

    def resume_writing(self) -> None:
        """The client has caught up."""
        super().resume_writing()
        self._stall_watch.cancel()

    def end_late(self) -> None:
        """The client has not sent its request in time."""
        self._end_waiting(too_late("the body" if self.is_in_body else "the headers"), "timeout")

    def end_for_room(self, reason: RoomReason) -> None:
        """Others need the room."""
        self._end_waiting(no_room(reason), reason)

    def move_on(self) -> bool:
        """Have the client come again with a new connection, if a response is awaited that can say so."""
        if self.cycle is None or not getattr(self.cycle, "can_say_close", False):
            return False
        self.cycle.keep_alive = False
        return True

    def refuse(self, refused: Refused) -> None:
        """End the connection, with a last response unless the request in question already has one."""
        cycle = self.cycle if self.has_cycle else None
        is_begun = cycle is not None and not cycle.response_complete
        has_response = cycle is not None and (cycle.response_complete or getattr(cycle, "response_started", False))
        self.end(refused.reason)
        if is_begun:
            self.drop_request()
        if not has_response:
            self.write_response(refused.failure, is_last=True, is_counted=not is_begun)
        if is_begun and has_response:
            self.transport.abort()
        else:
            self.linger()

    def drop_request(self) -> None:
        """Make the cycle of an incomplete request end."""
        self.cycle.disconnected = True
        self.cycle.message_event.set()

    def write_response(self, failure: Failure, *, is_last: bool, is_counted: bool = True) -> None:
        """Answer the request that is being read with an error."""
        method = self.parser.get_method().decode() if self.is_in_body else ""
        target = self.url if self.is_in_body else b""
        response = self.responder.turn_away(failure, method, target, self.headers or (), is_counted=is_counted)
        lines = [*self.server_state.default_headers, *response.raw_headers]
        if is_last:
            lines.append((b"connection", b"close"))
        head = response_head(response.status_code, lines)
        self.transport.write(head if method == "HEAD" else head + bytes(response.body))

    def end(self, reason: EndReason) -> None:
        """Read no more requests."""
        self.is_ending = True
        self._num_dropped_bytes = 0
        self.open_connections.count_ended(reason)
        self.open_connections.note_body_complete(self)

    def end_after_response(self, reason: EndReason) -> None:
        """Read nothing more, and close when the request that is being answered has its response."""
        self.release()
        self.end(reason)
        self.flow.hold()
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
        else:
            self.cycle.keep_alive = False

    def linger(self) -> None:
        """Close once the client has had the chance to read the last response."""
        self.deadline_s, self.allowed_s = self.loop.time() + _LINGER_S, math.inf  # the first to make room
        self.release()
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    def drop(self, num_bytes: int) -> None:
        """Drop what a client sends although it has its response."""
        self._num_dropped_bytes += num_bytes
        if self.is_ending and self._num_dropped_bytes > _LINGER_BYTES:
            self.transport.abort()
        elif not self.is_ending and self._num_dropped_bytes > MAX_DROPPED_BODIES * self.max_body_bytes:
            self.end("refused")
            self.linger()

    def _end_waiting(self, refused: Refused, reason: EndReason) -> None:
        """End a connection that waits for its client, with a response if a request has begun."""
        if self.is_ending:
            self.transport.abort()
        elif self.is_in_body or self.num_head_bytes:
            self.refuse(refused)
        else:
            self.end("idle" if reason == "timeout" else reason)
            self.transport.close()

    def _end_stalled(self) -> None:
        """The client has read nothing for too long, and its responses pile up."""
        self.end("unread")
        self.transport.abort()
