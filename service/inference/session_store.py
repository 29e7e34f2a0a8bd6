"""Sessions: state that the service holds for clients which would rather send an id than carry it.

A session is bytes under a key. One request holds it at a time, from before it reads the state until after it has
written the next one, so that two requests can never both go on from the same state.

    async with store.hold(key) as session:
        state = await session.load()
        ...
        await session.save(next_state)
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from service.errors import SessionBusy, StateRefused
from service.settings import SettingsError


class HeldSession(Protocol):
    """A session while its holder has it for itself."""

    async def load(self) -> bytes | None:
        """What was saved last, which counts as use; None if there is nothing, or nothing any more."""
        ...

    async def save(self, data: bytes) -> None:
        """Replace the state.

        Raises:
            StateRefused: with the reason "too_large".
            SessionBusy: it was held for too long and may be in other hands by now; nothing was changed.
        """
        ...

    async def delete(self) -> bool:
        """Forget the state, and say whether there was one. Raises SessionBusy as `save` does."""
        ...


class SessionStore(Protocol):
    """Where sessions are. Keys are made with `StateOwner.fingerprint`, so nobody reaches the session of another."""

    def hold(self, key: str) -> AbstractAsyncContextManager[HeldSession]:
        """Have a session for oneself inside `async with`; it need not exist yet.

        Raises:
            SessionBusy: on entering, when someone else holds it. Nobody waits for a session.
            NotReady: here and in all methods of what is held, when the store cannot be reached.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


@dataclass(frozen=True)
class SessionLimits:
    """How much a store keeps: each session until it was not used for `ttl_s` seconds.

    Raises:
        ValueError: a single session of the greatest size would not fit.
    """

    ttl_s: float
    max_session_bytes: int
    max_sessions: int
    max_total_bytes: int

    def __post_init__(self) -> None:
        if self.max_session_bytes > self.max_total_bytes:
            raise ValueError("max_session_bytes must not be larger than max_total_bytes")


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


def open_session_store(redis_url: str, limits: SessionLimits, max_hold_s: float) -> SessionStore:
    """The store that the settings ask for: in Redis if there is an address, else in this process.

    Raises:
        SettingsError: the address is wrong, or the package that talks to Redis is not installed.
    """
    if not redis_url:
        return LocalSessions(limits)
    try:
        from service.inference.session_redis import RedisSessions

        return RedisSessions(redis_url, limits.ttl_s, limits.max_session_bytes, max_hold_s)
    except ModuleNotFoundError as error:
        raise SettingsError("UNROLL_REDIS_URL: install unroll with the extra `redis` for this") from error
    except ValueError as error:
        raise SettingsError(f"UNROLL_REDIS_URL: {error}") from error


def busy() -> SessionBusy:
    """What the second of two requests on one session is told."""
    return SessionBusy("another request is using this session: send the next one after its answer")


def require_small(data: bytes, max_session_bytes: int) -> None:
    """Raises StateRefused for a state that is larger than one session may be."""
    if len(data) > max_session_bytes:
        message = f"the state of this session has {len(data)} bytes, at most {max_session_bytes} are kept"
        raise StateRefused(message, "too_large")
