"""What a WebSocket has received and its application has not taken yet, with bounds on both."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, NamedTuple

Event = dict[str, Any]


class _Entry(NamedTuple):
    event: Event
    num_bytes: int


class Inbox:
    """ASGI events in order, for one reader.

    Attributes:
        num_bytes: of the messages that wait.
        is_awaited: whether the reader waits for the next event.
    """

    def __init__(self, max_events: int) -> None:
        self.num_bytes = 0
        self._max_events = max_events
        self._entries: deque[_Entry] = deque()
        self._reader: asyncio.Future[None] | None = None

    @property
    def is_full(self) -> bool:
        return len(self._entries) >= self._max_events

    @property
    def has_bytes(self) -> bool:
        """Whether the next event is a message of bytes."""
        return bool(self._entries) and "bytes" in self._entries[0].event

    @property
    def is_awaited(self) -> bool:
        return self._reader is not None

    def put(self, event: Event, num_bytes: int = 0) -> None:
        """Add an event, and wake the reader."""
        self._entries.append(_Entry(event, num_bytes))
        self.num_bytes += num_bytes
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def take(self) -> Event | None:
        """The next event, if there is one."""
        if not self._entries:
            return None
        entry = self._entries.popleft()
        self.num_bytes -= entry.num_bytes
        return entry.event

    async def wait(self) -> None:
        """Wait until there is an event."""
        self._reader = asyncio.get_running_loop().create_future()
        try:
            await self._reader
        finally:
            self._reader = None

    def clear(self) -> None:
        """Drop what waits: nobody will take it."""
        self._entries.clear()
        self.num_bytes = 0
