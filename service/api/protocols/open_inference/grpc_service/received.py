"""Messages from clients: received in bounded time and memory, and inflated within the limit on a body.

gRPC would inflate a compressed message whatever its size becomes, so it is told to hand messages over as they come.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio

from service.api.validation.content_coding import BodyRefused, HeldBodies, Inflater
from service.errors import InvalidInput, Overloaded
from service.settings import Settings

#: What `grpc.aio` calls in both directions.
Context = grpc.aio.ServicerContext[bytes, bytes]

#: Fields of wire type 7, which there is not, and field 15, which no message of ours has: no message begins so.
_GZIP, _ZLIB = 0x1F, 0x78
_PRESUMED_STALLED_S = 1.0


class MessageReader:
    """Receives messages. Where too many are being received at once, those that take longest make room."""

    def __init__(self, settings: Settings, held: HeldBodies) -> None:
        """`held` counts the bytes of all messages and bodies that are held."""
        self._held = held
        self._inflater = Inflater(settings.max_body_bytes, held)
        self._timeout_s = settings.body_timeout_s + settings.max_body_bytes / settings.min_upload_bytes_per_s
        self._most = max(1, settings.max_held_body_bytes // settings.max_body_bytes)
        self._receiving: dict[asyncio.Timeout, float] = {}

    @asynccontextmanager
    async def only(self, context: Context) -> AsyncIterator[bytes]:
        """The one message of a call, inflated; it counts as held until the context ends.

        Raises:
            InvalidInput: there is none.
            BodyRefused: it took too long, or cannot be inflated within the limits.
        """
        raw = await self._receive(context)
        if not isinstance(raw, bytes):
            raise InvalidInput("the call has no message")
        async with self.opened(raw) as message:
            yield message

    @asynccontextmanager
    async def opened(self, raw: bytes) -> AsyncIterator[bytes]:
        """A message that was received, inflated; it counts as held until the context ends. Raises as `only`."""
        if not self._held.make_room_for_bodies(len(raw)):
            raise Overloaded("too many bytes of messages are held at this moment")
        self._held.body_bytes += len(raw)
        try:
            coding = coding_of_message(raw)
            if coding:
                async with self._inflater.inflated(raw, coding) as message:
                    yield message
            else:
                yield raw
        finally:
            self._held.body_bytes -= len(raw)

    async def _receive(self, context: Context) -> Any:
        """What gRPC gives for the message. Raises BodyRefused."""
        now_s = asyncio.get_running_loop().time()
        if len(self._receiving) >= self._most:
            self._make_room(now_s)
        try:
            async with asyncio.timeout(self._timeout_s) as limit:
                self._receiving[limit] = now_s
                try:
                    return await context.read()
                finally:
                    self._receiving.pop(limit, None)
        except TimeoutError:
            raise BodyRefused(408, "timeout", "the message took too long to arrive") from None

    def _make_room(self, now_s: float) -> None:
        """End the oldest of the calls that are being received, if it does not seem to come to its end."""
        oldest, since_s = next(iter(self._receiving.items()))
        if now_s - since_s > _PRESUMED_STALLED_S:
            del self._receiving[oldest]
            oldest.reschedule(now_s)


def coding_of_message(raw: bytes) -> bytes:
    """How a message was compressed, by its beginning, which no message has that was not; empty if it was not."""
    if len(raw) < 2 or raw[0] not in (_GZIP, _ZLIB):
        return b""
    if raw[0] == _GZIP:
        return b"gzip" if raw[1] == 0x8B else b""
    return b"deflate" if (raw[0] << 8 | raw[1]) % 31 == 0 else b""
