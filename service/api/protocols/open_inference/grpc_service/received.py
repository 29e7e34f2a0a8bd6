"""Messages from clients: received in bounded time and memory, and inflated within the limit on a body.

gRPC would inflate a compressed message whatever its size becomes, so it is told to hand messages over as they come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc.aio

from service.api.validation.content_coding import BodyRefused, HeldBodies, Inflater
from service.errors import InvalidInput, Overloaded
from service.settings import Settings

#: What `grpc.aio` calls in both directions.
Context = grpc.aio.ServicerContext[bytes, bytes]

#: Fields of wire type 7, which there is not, and field 15, which no message of ours has: no message begins so.
_GZIP, _ZLIB = 0x1F, 0x78
_PRESUMED_STALLED_S = 1.0
_CHECK_EVERY_S = 1.0
#: Unfinished messages together, as a multiple of what all bodies may hold, where messages may be as large as sound.
_HELD_MULTIPLE = 4
#: A message that is no larger is not refused for what others hold.
_SMALL_BYTES = 64 * 1024

T = TypeVar("T")


class MessageReader:
    """Receives messages. Where too many are being received at once, those that take longest make room."""

    def __init__(self, settings: Settings, held: HeldBodies, max_bytes: int) -> None:
        """`held` counts the bytes of all messages and bodies that are held; `max_bytes` is the limit of the port."""
        self._held = held
        self._inflater = Inflater(max_bytes, held)
        self._timeout_s = settings.body_timeout_s + settings.max_body_bytes / settings.min_upload_bytes_per_s
        most = settings.max_held_body_bytes // settings.max_body_bytes
        self._most = max(1, min(most, _HELD_MULTIPLE * settings.max_held_body_bytes // max_bytes))
        #: Tasks and since when each receives; the oldest is the first.
        self._receiving: dict[asyncio.Task[Any], float] = {}
        self._ended: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def receive(self, context: Context) -> bytes:
        """The one message of a call, as it was sent.

        Raises:
            InvalidInput: there is none.
            BodyRefused: it took too long, or others needed the room.
        """
        task = asyncio.current_task()
        assert task is not None, "calls are answered in tasks"
        self._begin(task)
        try:
            message: Any = await context.read()
        except asyncio.CancelledError:
            if task not in self._ended:
                raise
            task.uncancel()
            raise BodyRefused(408, "timeout", "the message took too long to arrive") from None
        finally:
            self._receiving.pop(task, None)
            self._ended.discard(task)
        if not isinstance(message, bytes):
            raise InvalidInput("the call has no message")
        return message

    async def using(self, raw: bytes, use: Callable[[bytes], Awaitable[T]]) -> T:
        """What `use` makes of a message, inflated if it was compressed; it counts as held until then.

        Raises:
            Overloaded: too much is held.
            BodyRefused: it cannot be inflated within the limits.
        """
        num_bytes = len(raw)
        if not self._held.make_room_for_bodies(num_bytes) and num_bytes > _SMALL_BYTES:
            raise Overloaded("too many bytes of messages are held at this moment")
        self._held.body_bytes += num_bytes
        try:
            coding = coding_of_message(raw)
            if not coding:
                return await use(raw)
            async with self._inflater.inflated(raw, coding) as message:
                return await use(message)
        finally:
            self._held.body_bytes -= num_bytes

    def _begin(self, task: asyncio.Task[Any]) -> None:
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        if len(self._receiving) >= self._most:
            self._end_first(now_s - _PRESUMED_STALLED_S)
        self._receiving[task] = now_s
        if self._timer is None:
            self._timer = loop.call_later(_CHECK_EVERY_S, self._check)

    def _check(self) -> None:
        """End the calls whose messages take too long: one timer for all costs less than one for each."""
        loop = asyncio.get_running_loop()
        while self._end_first(loop.time() - self._timeout_s):
            pass
        self._timer = loop.call_later(_CHECK_EVERY_S, self._check) if self._receiving else None

    def _end_first(self, since_s: float) -> bool:
        """End the call that has been receiving for longest, if it began before; whether there was one."""
        first = next(iter(self._receiving.items()), None)
        if first is None or first[1] > since_s:
            return False
        task = first[0]
        del self._receiving[task]
        self._ended.add(task)
        task.cancel()
        return True


def coding_of_message(raw: bytes) -> bytes:
    """How a message was compressed, by its beginning, which no message has that was not; empty if it was not."""
    if len(raw) < 2 or raw[0] not in (_GZIP, _ZLIB):
        return b""
    if raw[0] == _GZIP:
        return b"gzip" if raw[1] == 0x8B else b""
    return b"deflate" if (raw[0] << 8 | raw[1]) % 31 == 0 else b""
