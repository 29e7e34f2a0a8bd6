"""Places for streams: how many there may be, and which one makes room for the next.

What gRPC holds of a message that is not complete cannot be seen here, so streams are bounded by their number: together
they hold no more than a few times what is allowed for the bodies of requests.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from service.settings import Settings

#: Unfinished messages of all streams together, as a multiple of what all bodies may hold.
_HELD_MULTIPLE = 4
_FEWEST_STREAMS = 16
#: Where messages may be as large as sound, few of them are: that there are streams for texts too goes before memory.
_FEWEST_WITH_SOUND = 64


class Placed(Protocol):
    """An open stream."""

    @property
    def is_silent(self) -> bool:
        """Whether the service waits for its client."""

    def end_for_room(self) -> None:
        """End it, which is silent: others need its place."""


class Places:
    """The open streams by address of their clients. Use it in the event loop.

    Attributes:
        max_streams: of all clients.
        max_each: of one address; 0: any number.
        max_requests_each: requests of one address that its streams answer at once; 0: any number.
    """

    def __init__(self, settings: Settings, max_bytes: int) -> None:
        """`max_bytes` is the limit of the port on a message."""
        by_memory = _HELD_MULTIPLE * settings.max_held_body_bytes // max_bytes
        fewest = _FEWEST_STREAMS if max_bytes == settings.max_body_bytes else _FEWEST_WITH_SOUND
        self.max_streams = min(settings.max_connections, max(fewest, by_memory))
        is_shared = settings.max_streams_per_client > 0
        self.max_each = min(settings.max_streams_per_client, max(1, self.max_streams // 2)) if is_shared else 0
        self.max_requests_each = max(1, settings.max_open_requests // 2) if is_shared else 0
        #: The one whose client has been waited for longest is the first of those that are silent.
        self._taken: dict[Placed, str] = {}
        self._streams: Counter[str] = Counter()
        self._requests: Counter[str] = Counter()

    def take(self, address: str, stream: Placed) -> bool:
        """Whether one more may be open; then `leave`. A silent one makes room for it: one of the same client first."""
        is_crowded = bool(self.max_each) and self._streams[address] >= self.max_each
        if is_crowded and not self._end_silent(address):
            return False
        if len(self._taken) >= self.max_streams and not self._end_silent(None):
            return False
        self._taken[stream] = address
        self._streams[address] += 1
        return True

    def leave(self, stream: Placed) -> None:
        """A stream ends; calling it again does nothing."""
        address = self._taken.pop(stream, None)
        if address is not None:
            _subtract(self._streams, address)

    def note_silent(self, stream: Placed) -> None:
        """Its client is waited for from now on: it is the last to make room."""
        address = self._taken.pop(stream, None)
        if address is not None:
            self._taken[stream] = address

    @contextmanager
    def request(self, address: str) -> Iterator[bool]:
        """Whether streams of this address may have one more request answered while the context lasts."""
        has_room = not self.max_requests_each or self._requests[address] < self.max_requests_each
        if not has_room:
            yield False
            return
        self._requests[address] += 1
        try:
            yield True
        finally:
            _subtract(self._requests, address)

    def _end_silent(self, address: str | None) -> bool:
        """End the stream that has been silent for longest, of this address if one is given; whether there was one."""
        silent = next((one for one, of in self._taken.items() if address in (None, of) and one.is_silent), None)
        if silent is None:
            return False
        self.leave(silent)
        silent.end_for_room()
        return True


def _subtract(counts: Counter[str], address: str) -> None:
    counts[address] -= 1
    if not counts[address]:
        del counts[address]
