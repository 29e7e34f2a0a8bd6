"""Parts of a bounded connection: response head, flow control, stalled clients, and stand-ins for parts of uvicorn."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE


def response_head(status: int, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Status line and headers."""
    return STATUS_LINE[status] + b"\r\n".join([*map(b": ".join, headers), b"", b""])


def end_writing(transport: asyncio.Transport) -> None:
    """End our side, so that the client can still read it: a connection with unread data would be reset."""
    if transport.can_write_eof():
        transport.write_eof()
    else:
        transport.close()


class StallWatch:
    """Ends a connection whose client reads nothing while responses wait to be sent: nothing else would end it."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, timeout_s: float) -> None:
        self._transport = transport
        self._loop = loop
        self._timeout_s = timeout_s
        self._timer: asyncio.TimerHandle | None = None
        self._num_unsent_bytes = 0

    def start(self, on_stall: Callable[[], None]) -> None:
        """From now on the client has to read something within each timeout."""
        self._num_unsent_bytes = self._transport.get_write_buffer_size()
        self._timer = self._loop.call_later(self._timeout_s, self._check, on_stall)

    def cancel(self) -> None:
        """The client has caught up, or left."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self, on_stall: Callable[[], None]) -> None:
        if self._transport.get_write_buffer_size() < self._num_unsent_bytes:
            self.start(on_stall)
        else:
            on_stall()


class HeldFlow(FlowControl):
    """Flow control of one connection; while requests are held, nothing resumes reading."""

    is_held = False

    def resume_reading(self) -> None:
        """Read the socket again, unless requests are held."""
        if not self.is_held and not self._transport.is_closing():
            super().resume_reading()

    def hold(self) -> None:
        """Stop reading until `release`."""
        self.is_held = True
        self.pause_reading()

    def release(self) -> None:
        """Read the socket again."""
        self.is_held = False
        self.resume_reading()


class OpenTransport:
    """A transport for uvicorn's cycle of a request, which writes although the connection may be closing."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.is_closing = transport.is_closing
        self.close = transport.close

    def write(self, data: bytes) -> None:
        """Write, or drop what nobody will read."""
        if not self._transport.is_closing():
            self._transport.write(data)


class AnsweredCycle:
    """In place of a request that was answered from its head alone: its body is read and dropped."""

    response_complete = True
    disconnected = False
    more_body = True
    keep_alive = True

    @property
    def message_event(self) -> AnsweredCycle:
        """What the protocol sets."""
        return self

    def set(self) -> None:
        """Nothing waits for the body."""
