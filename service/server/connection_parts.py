"""What a bounded connection puts in place of parts of uvicorn's: flow control, transport, and a cycle without work."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.flow_control import FlowControl


class HeldFlow(FlowControl):
    """Flow control of one connection; while requests are held, nothing resumes reading."""

    is_held = False

    def resume_reading(self) -> None:
        """Read the socket again, unless requests are held."""
        if not self.is_held:
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
