"""Sessions in the memory of this process."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import islice
from typing import NamedTuple

from service.inference.state.sessions import (
    MAX_LISTED,
    HeldSession,
    KeptSession,
    SessionLabel,
    SessionLimits,
    busy,
    require_small,
)


class _StoredState(NamedTuple):
    data: bytes
    last_used_s: float
    label: SessionLabel | None


class LocalSessions:
    """Sessions in the memory of this process, used from one event loop and lost when the process ends.

    Attributes:
        num_bytes: total size of the states.
        num_evicted: sessions evicted to make room, the least recently used first.
        num_expired: sessions dropped because they were unused for too long.
        failures: none; see `SessionStore.failures`.
    """

    def __init__(self, limits: SessionLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self.num_bytes = 0
        self.num_evicted = 0
        self.num_expired = 0
        self.failures: Counter[str] = Counter()
        self._limits = limits
        self._clock = clock
        #: The least recently used session first, which is also the first to expire.
        self._stored: OrderedDict[str, _StoredState] = OrderedDict()
        #: The keys of each owner's labelled sessions, those used last at the end.
        self._keys_of: dict[str, OrderedDict[str, None]] = {}
        self._held: set[str] = set()

    def __len__(self) -> int:
        return len(self._stored)

    @asynccontextmanager
    async def hold(self, key: str, label: SessionLabel | None = None) -> AsyncIterator[HeldSession]:
        """See `SessionStore.hold`."""
        if key in self._held:
            raise busy()
        self._held.add(key)
        try:
            yield _HeldLocalSession(self, key, label)
        finally:
            self._held.remove(key)

    async def kept_by(self, owner: str) -> list[KeptSession]:
        """See `SessionStore.kept_by`."""
        self._drop_expired()
        now_s = self._clock()
        keys = islice(reversed(self._keys_of.get(owner, ())), MAX_LISTED)
        return [self._listed(key, self._stored[key], now_s) for key in keys]

    async def check(self) -> None:
        """See `SessionStore.check`: memory is always there."""

    async def close(self) -> None:
        """See `SessionStore.close`: there is nothing to release."""

    def load(self, key: str) -> bytes | None:
        """The state under `key`, which becomes the most recently used."""
        self._drop_expired()
        stored = self._drop(key)
        if stored is None:
            return None
        self._store(key, stored.data, stored.label)
        return stored.data

    def save(self, key: str, data: bytes, label: SessionLabel | None = None) -> None:
        """Store `data`, and evict other sessions if there is no room. Raises StateRefused."""
        require_small(data, self._limits.max_session_bytes)
        self._drop_expired()
        self._drop(key)
        self._store(key, data, label)
        while len(self._stored) > self._limits.max_sessions or self.num_bytes > self._limits.max_total_bytes:
            self._drop(next(iter(self._stored)))
            self.num_evicted += 1

    def delete(self, key: str) -> bool:
        """Delete the state under `key`; whether there was one."""
        self._drop_expired()
        return self._drop(key) is not None

    def _listed(self, key: str, stored: _StoredState, now_s: float) -> KeptSession:
        text = b"" if stored.label is None else stored.label.text
        return KeptSession(key, text, len(stored.data), stored.last_used_s + self._limits.ttl_s - now_s)

    def _store(self, key: str, data: bytes, label: SessionLabel | None) -> None:
        self._stored[key] = _StoredState(data, self._clock(), label)
        self.num_bytes += len(data)
        if label is not None:
            self._keys_of.setdefault(label.owner, OrderedDict())[key] = None

    def _drop(self, key: str) -> _StoredState | None:
        stored = self._stored.pop(key, None)
        if stored is not None:
            self.num_bytes -= len(stored.data)
            self._unlist(key, stored.label)
        return stored

    def _unlist(self, key: str, label: SessionLabel | None) -> None:
        if label is not None:
            keys = self._keys_of[label.owner]
            del keys[key]
            if not keys:
                del self._keys_of[label.owner]

    def _drop_expired(self) -> None:
        oldest_s = self._clock() - self._limits.ttl_s
        while self._stored and next(iter(self._stored.values())).last_used_s <= oldest_s:
            self._drop(next(iter(self._stored)))
            self.num_expired += 1


class _HeldLocalSession:
    """One key of a store in this process."""

    def __init__(self, store: LocalSessions, key: str, label: SessionLabel | None) -> None:
        self._store = store
        self._key = key
        self._label = label

    async def load(self) -> bytes | None:
        return self._store.load(self._key)

    async def save(self, data: bytes) -> None:
        self._store.save(self._key, data, self._label)

    async def delete(self) -> bool:
        return self._store.delete(self._key)
