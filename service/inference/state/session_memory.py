"""Sessions in the memory of this process."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

from service.inference.state.sessions import HeldSession, SessionLimits, busy, require_small


class _Kept(NamedTuple):
    data: bytes
    last_used_s: float


class LocalSessions:
    """Sessions in the memory of this process, for the use of one event loop. They end with the process.

    Attributes:
        num_bytes: the size of all states.
        num_evicted: sessions that were forgotten to make room, the least recently used first.
        num_expired: sessions that were forgotten because they were not used for too long.
    """

    def __init__(self, limits: SessionLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self.num_bytes = 0
        self.num_evicted = 0
        self.num_expired = 0
        self._limits = limits
        self._clock = clock
        #: The least recently used first, which is also the first to expire.
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._held: set[str] = set()

    def __len__(self) -> int:
        return len(self._kept)

    @asynccontextmanager
    async def hold(self, key: str) -> AsyncIterator[HeldSession]:
        """See `SessionStore.hold`."""
        if key in self._held:
            raise busy()
        self._held.add(key)
        try:
            yield _HeldLocalSession(self, key)
        finally:
            self._held.remove(key)

    async def close(self) -> None:
        """See `SessionStore.close`: there is nothing to let go of."""

    def load(self, key: str) -> bytes | None:
        """What is kept under `key`; this makes it the most recently used."""
        self._forget_expired()
        data = self._forget(key)
        if data is not None:
            self._keep(key, data)
        return data

    def save(self, key: str, data: bytes) -> None:
        """Keep `data`, and forget what it leaves no room for. Raises StateRefused."""
        require_small(data, self._limits.max_session_bytes)
        self._forget_expired()
        self._forget(key)
        self._keep(key, data)
        while len(self._kept) > self._limits.max_sessions or self.num_bytes > self._limits.max_total_bytes:
            self._forget(next(iter(self._kept)))
            self.num_evicted += 1

    def delete(self, key: str) -> bool:
        """Forget what is kept under `key`, if anything is."""
        self._forget_expired()
        return self._forget(key) is not None

    def _keep(self, key: str, data: bytes) -> None:
        self._kept[key] = _Kept(data, self._clock())
        self.num_bytes += len(data)

    def _forget(self, key: str) -> bytes | None:
        kept = self._kept.pop(key, None)
        if kept is None:
            return None
        self.num_bytes -= len(kept.data)
        return kept.data

    def _forget_expired(self) -> None:
        oldest_s = self._clock() - self._limits.ttl_s
        while self._kept and next(iter(self._kept.values())).last_used_s <= oldest_s:
            self._forget(next(iter(self._kept)))
            self.num_expired += 1


class _HeldLocalSession:
    """One key of a store in this process."""

    def __init__(self, store: LocalSessions, key: str) -> None:
        self._store = store
        self._key = key

    async def load(self) -> bytes | None:
        return self._store.load(self._key)

    async def save(self, data: bytes) -> None:
        self._store.save(self._key, data)

    async def delete(self) -> bool:
        return self._store.delete(self._key)
