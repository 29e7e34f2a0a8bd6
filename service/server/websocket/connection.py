"""A WebSocket connection as ASGI: `websockets` parses frames, messages wait in an inbox, and all of it is bounded.

What arrives is parsed in slices, in turns that all connections share, so that a flood of tiny frames delays nobody. The
socket is not read while bytes wait to be parsed, messages wait for the application or the client does not read: TCP
then slows the client down.
"""

from __future__ import annotations

import asyncio
import logging
import math
from typing import cast

from starlette.types import Message
from uvicorn.protocols.utils import ClientDisconnected
from websockets.frames import Opcode
from websockets.protocol import OPEN

from service.server.connection_parts import StallWatch, end_writing, response_head
from service.server.open_connections import RoomReason
from service.server.websocket.close_reason import (
    ABNORMAL,
    GOING_AWAY,
    IDLE,
    INVALID_TEXT,
    NORMAL,
    REFUSED,
    RESTART,
    TOO_BIG,
    TRY_AGAIN,
    UNEXPECTED,
    shortened_reason,
)
from service.server.websocket.handover import Handover
from service.server.websocket.handshake import RawHeaders
from service.server.websocket.inbox import Inbox
from service.server.websocket.incoming import Incoming, Received, TooManyFrames, frame_head, frames_of_server
from service.server.websocket.parsing_turns import SLICE_COST
from service.server.websocket.pings import Pings

logger = logging.getLogger(__name__)

#: All connections read into the same buffer: little is held of each that waits for its turn.
_READ_BUFFER = memoryview(bytearray(16 * 1024))
#: How long a client may take to answer a close frame, and how much is read of it meanwhile.
_CLOSE_S = 2.0
_CLOSE_BYTES = 4 * 1024 * 1024

_NO_BODY = [(b"content-length", b"0")]


class WebSocketConnection(asyncio.BufferedProtocol):
    """One WebSocket from the handshake to its end, counted among the open connections.

    Besides the messages of ASGI the application gets `websocket.stop` when the service stops: it finishes, and closes.

    Attributes:
        deadline_s: when the service stops waiting for the client; infinite while the client waits for the service.
        allowed_s: how long the client was given by this deadline.
    """

    deadline_s = math.inf
    allowed_s = 0.0

    def __init__(self, handover: Handover) -> None:
        self._app, self._scope, self._accept, self._server_state = handover[:4]
        self._open_connections, self._loop, self._shared, self._address = handover[4:]
        self._limits = self._open_connections.limits
        self._frames = frames_of_server(self._limits.max_message_bytes)
        self._inbox = Inbox(self._limits.max_waiting_messages)
        self._pings = Pings(self._loop, self._limits.ping_interval_s)
        self._incoming = Incoming(self._frames, self._loop.time)
        self._num_counted_bytes = self._num_partial_bytes = self._num_dropped_bytes = 0
        self._is_accepted = self._is_refused = self._is_lost = self._is_stopping = self._is_ending = False
        self._is_paused = True
        self._message_began_s = 0.0
        #: When its turn has come: each application that begins costs as much as a slice.
        self._has_begun: asyncio.Future[None] = self._loop.create_future()
        self._drained: asyncio.Future[None] | None = None
        self._response: Message = {}

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the application, which accepts the connection or refuses it. The transport must be paused."""
        self._transport = cast(asyncio.Transport, transport)
        self._stall_watch = StallWatch(self._transport, self._loop, self._limits.unread_timeout_s)
        self._server_state.connections.add(self)  # type: ignore[arg-type]  # it is asked to `shutdown`, no more
        self._open_connections.admit(self)
        self._shared.places.take(self._address, self)
        self._pause_or_resume()
        self.allowed_s = self._limits.head_timeout_s
        self.deadline_s = self._loop.time() + self.allowed_s
        self._inbox.put({"type": "websocket.connect"})
        self._task = self._loop.create_task(self._run())
        self._server_state.tasks.add(self._task)
        self._task.add_done_callback(self._server_state.tasks.discard)
        self._shared.turns.ask(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone: what it has sent is dropped, and the application ends."""
        self._is_lost = True
        self._begin_to_end(ABNORMAL)
        self._account()
        self.deadline_s = math.inf
        self._server_state.connections.discard(self)
        self._open_connections.forget(self)
        self._frames.parser.close()  # it holds the frames, which hold it
        self.resume_writing()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes are read to."""
        return _READ_BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was read."""
        self.take_bytes(bytes(_READ_BUFFER[:nbytes]))

    def take_bytes(self, data: bytes) -> None:
        """Keep what arrived until it is parsed."""
        self._pings.has_heard = True
        if self._is_ending:
            self._num_dropped_bytes += len(data)
        if self._num_dropped_bytes > _CLOSE_BYTES:
            self._transport.abort()
        elif not self._is_refused and not self._frames.eof_sent:
            self._incoming.add(data)
            self._parse_soon()
            self._pause_or_resume()
            self._account()

    def pause_writing(self) -> None:
        """The client reads more slowly than we write: what it sends is not read either."""
        self._drained = self._loop.create_future()
        self._stall_watch.start(self._end_stalled)
        self._pause_or_resume()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._stall_watch.cancel()
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)
        self._parse_soon()

    # What the server and the other connections call.

    def shutdown(self) -> None:
        """The service stops: messages that have arrived are answered, then the application closes."""
        self._is_stopping = True
        if self._is_ending:
            self._transport.close()
        else:
            self._inbox.put({"type": "websocket.stop"})
            self._pause_or_resume()

    def end_late(self) -> None:
        """The client has been silent for too long, or has not answered a close frame."""
        if self._is_ending:
            self._transport.abort()
        else:
            self._open_connections.count_ended("idle")
            self._fail(IDLE, f"no message came for {self._limits.message_timeout_s:g} s")

    def end_for_room(self, reason: RoomReason) -> None:
        """Others need the room."""
        if self._is_ending:
            self._transport.abort()
        else:
            self._open_connections.count_ended(reason)
            what = "connections are open" if reason == "too_many_connections" else "bytes are held"
            self._fail(TRY_AGAIN, f"too many {what} at this moment")

    # The application.

    async def _run(self) -> None:
        try:
            await self._has_begun
            self.deadline_s = math.inf
            await self._app(self._scope, self._receive, self._send)
        except (ClientDisconnected, asyncio.CancelledError):  # the client has left, or the time to stop is over
            self._fail(RESTART if self._is_stopping else GOING_AWAY)
        except Exception:
            logger.exception("WebSocket application failed with an unexpected error")
            self._fail(UNEXPECTED, "internal error")
        self._fail(NORMAL if self._is_accepted else UNEXPECTED)

    async def _receive(self) -> Message:
        """The next event for the application. The client may be silent only for so long."""
        event = self._inbox.take()
        while event is None:
            if self._is_ending:
                return {"type": "websocket.disconnect", "code": ABNORMAL}
            self.allowed_s = self._limits.message_timeout_s
            self.deadline_s = self._loop.time() + self.allowed_s
            await self._inbox.wait()
            event = self._inbox.take()
        if not self._is_ending:
            self.deadline_s = math.inf
            event["more_bytes_wait"] = self._inbox.has_bytes
            self._parse_soon()
            self._account()
        return event

    async def _send(self, message: Message) -> None:
        """Write a message of the application, as fast as the client reads. Raises ClientDisconnected."""
        if self._drained is not None:
            await self._drained
        if self._is_ending:
            raise ClientDisconnected
        kind = message["type"]
        if kind == "websocket.send":
            self._send_data(message)
        elif kind == "websocket.accept":
            self._send_accept(message)
        elif kind == "websocket.close":
            self._send_close(message.get("code", NORMAL), message.get("reason") or "")
        elif kind == "websocket.http.response.start":
            self._response = message
        else:
            self._refuse(self._response["status"], self._response["headers"], message["body"])

    def _send_data(self, message: Message) -> None:
        text = message.get("text")
        opcode, data = (Opcode.BINARY, message["bytes"]) if text is None else (Opcode.TEXT, text.encode())
        if self._frames.state is OPEN:  # nothing of the library waits to be written: `_write` follows all it says
            self._transport.write(frame_head(opcode, len(data)) + data)

    def _send_accept(self, message: Message) -> None:
        lines = [*self._server_state.default_headers, *self._accept, *message.get("headers", ())]
        self._transport.write(response_head(101, lines))
        self._is_accepted = True
        self._pings.start(self._ping, self._end_silent)
        self._parse_soon()

    def _send_close(self, code: int, reason: str) -> None:
        if self._is_accepted:
            self._frames.send_close(code, shortened_reason(reason))
            self._write()
            self._begin_to_end(code)
        else:
            self._refuse(403, _NO_BODY, b"")

    def _refuse(self, status: int, headers: RawHeaders, body: bytes) -> None:
        """Refuse the handshake with a response of HTTP."""
        lines = [*self._server_state.default_headers, *headers, (b"connection", b"close")]
        self._transport.write(response_head(status, lines) + body)
        self._is_refused = True
        self._begin_to_end(ABNORMAL)
        end_writing(self._transport)

    def parse_slice(self) -> int:
        """Begin the application, or parse one slice, as its turn has come. Returns what it cost."""
        if not self._has_begun.done():
            self._has_begun.set_result(None)
            return SLICE_COST
        cost = 0
        while cost < SLICE_COST and self._may_parse():
            cost += self._parse_piece()
        if cost:
            self._write()
            self._pause_or_resume()
            self._account()
        return cost

    def _parse_piece(self) -> int:
        messages: list[Received] = []
        cost = SLICE_COST
        try:
            cost = self._incoming.parse_piece(messages)
        except TooManyFrames as error:
            self._open_connections.count_ended("refused")
            self._fail(REFUSED, str(error))
        for message in messages:
            self._take_message(message)
        if self._frames.parser_exc is not None and not self._is_ending:
            self._open_connections.count_ended("refused")
        if self._frames.state is not OPEN:
            closed = self._frames.close_rcvd or self._frames.close_sent
            self._begin_to_end(ABNORMAL if closed is None else closed.code)
        return cost

    def _may_parse(self) -> bool:
        if not self._incoming.has_unparsed or not self._is_accepted or self._is_lost or self._frames.eof_sent:
            return False
        return self._is_ending or not (self._is_stopping or self._inbox.is_full or self._drained is not None)

    def _parse_soon(self) -> None:
        """Parse what waits when it is its turn; if nothing does, read the socket."""
        if self._may_parse():
            self._shared.turns.ask(self)
        elif not self._is_lost:
            self._pause_or_resume()

    def _take_message(self, message: Received) -> None:
        if self._is_ending:
            return
        self._shared.places.note_message(self._address, self)
        data, is_text = message
        if is_text and len(data) > self._limits.max_text_message_bytes:
            self._open_connections.count_ended("refused")
            self._fail(TOO_BIG, f"a text message has more than {self._limits.max_text_message_bytes} bytes")
            return
        if not is_text:
            self._inbox.put({"type": "websocket.receive", "bytes": data}, len(data))
            return
        try:
            self._inbox.put({"type": "websocket.receive", "text": data.decode()}, len(data))
        except UnicodeDecodeError:
            self._open_connections.count_ended("refused")
            self._fail(INVALID_TEXT, "a text message is not valid UTF-8")

    def _write(self) -> None:
        """Write what the library has to say; an empty piece is the end."""
        pieces = self._frames.data_to_send()
        if pieces and not self._transport.is_closing():
            self._transport.write(b"".join(pieces))
            if not pieces[-1]:
                end_writing(self._transport)

    def _ping(self) -> None:
        if self._drained is None and not self._is_ending:
            self._frames.send_ping(b"")
            self._write()

    def _fail(self, code: int, reason: str = "") -> None:
        """End the connection for a reason of ours, unless it is ending."""
        if self._is_ending:
            return
        if self._is_accepted:
            self._frames.fail(code, shortened_reason(reason))
            self._begin_to_end(code)
            self._write()
        else:
            self._refuse(500 if code == UNEXPECTED else 503, _NO_BODY, b"")

    def _end_stalled(self) -> None:
        """The client has read nothing for too long, and what it should read piles up."""
        self._open_connections.count_ended("unread")
        self._transport.abort()

    def _end_silent(self) -> None:
        """Nothing has come since the last ping. While the socket is not read, nothing can come."""
        if self._is_paused:
            self._pings.start(self._ping, self._end_silent)
        elif not self._is_ending:
            self._open_connections.count_ended("timeout")
            self._fail(UNEXPECTED, "no answer came to a ping")

    def _begin_to_end(self, code: int) -> None:
        """Nothing more is sent, messages that wait are dropped, and the application is told; once."""
        if self._is_ending:
            return
        self._is_ending = True
        self._pings.stop()
        self._inbox.clear()
        self._shared.places.leave(self._address, self)
        self._incoming.drop()
        if self._is_refused or self._frames.eof_sent:
            self._incoming.drop_all()
        self.deadline_s, self.allowed_s = self._loop.time() + _CLOSE_S, math.inf  # the first to make room
        self._inbox.put({"type": "websocket.disconnect", "code": code})
        if not self._inbox.is_awaited and asyncio.current_task() is not self._task:
            self._task.cancel()  # it is at work for a client that has left
        self._parse_soon()
        self._account()

    def _pause_or_resume(self) -> None:
        """Read the socket only if there is room for what it holds."""
        is_full = self._inbox.is_full or self._drained is not None or self._is_stopping
        must_pause = self._incoming.has_unparsed or (is_full and not self._is_ending)
        if must_pause == self._is_paused or self._transport.is_closing():
            return
        self._is_paused = must_pause
        if must_pause:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _account(self) -> None:
        """Count what is held for this connection among the bodies of requests."""
        num_partial = self._incoming.num_partial_bytes
        num_bytes = 0
        if not self._is_lost:
            num_bytes = self._incoming.num_unparsed_bytes + num_partial + self._inbox.num_bytes
        has_grown, self._num_partial_bytes = num_partial > self._num_partial_bytes, num_partial
        self._open_connections.body_bytes += num_bytes - self._num_counted_bytes
        self._num_counted_bytes = num_bytes
        if self._is_ending or not num_partial:
            self._open_connections.note_body_complete(self)
            self._message_began_s = 0.0
        elif has_grown:
            self._open_connections.note_body_grew(self)  # those that do not grow make room
            self._message_began_s = self._message_began_s or self._loop.time()
            self._expect_message()
        if not self._is_ending and not self._open_connections.make_room_for_bodies():
            self.end_for_room("too_many_body_bytes")

    def _expect_message(self) -> None:
        """Set the deadline, if the application waits: once a message has begun, it is that of a body of its size."""
        limits, num_bytes = self._limits, self._num_partial_bytes
        if self._inbox.is_awaited and not self._is_ending:
            allowed_s = limits.body_timeout_s + num_bytes / limits.min_upload_bytes_per_s
            self.deadline_s, self.allowed_s = self._message_began_s + allowed_s, limits.body_timeout_s
