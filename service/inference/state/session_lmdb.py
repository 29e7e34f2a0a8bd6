"""Sessions that the workers of one machine share, in an embedded store (LMDB) in memory.

A session is held by a lock of the kernel, which ends with the process of its holder. The records of the store begin
with a letter: `I` and the key of a session for its use, label and size, `D` and the key for its state, `O` and a number
for the order of use, `L`, an owner and a number for the owner's list, and `T` for the totals.
"""

from __future__ import annotations

import hashlib
import logging
import struct
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from service.errors import NotReady, SessionStoreFull
from service.inference.state.sessions import (
    MAX_LISTED,
    HeldSession,
    KeptSession,
    SessionLabel,
    SessionLimits,
    busy,
    require_small,
)
from service.inference.state.shared_store import SharedStore, StoreBroken, StoreClosed, StoreFull
from service.process_locks import NUMBERS, ProcessLocks

if TYPE_CHECKING:
    import lmdb

logger = logging.getLogger(__name__)

T = TypeVar("T")
#: Last use in seconds, place in the order of use, bytes of the state, bytes of the owner; owner and label follow.
_INFO = struct.Struct("<dQQH")
#: The next place in the order of use, sessions, bytes of their states.
_TOTALS = struct.Struct("<QQQ")
_PLACE = struct.Struct(">Q")
#: Of a session besides its state, in the store.
_RECORD_BYTES = 1024


class _Info(NamedTuple):
    """What is known of a session without its state."""

    last_used_s: float
    place: int
    num_bytes: int
    owner: bytes
    label: bytes

    def to_bytes(self) -> bytes:
        return _INFO.pack(*self[:3], len(self.owner)) + self.owner + self.label

    @classmethod
    def from_bytes(cls, data: bytes | memoryview) -> _Info:
        last_used_s, place, num_bytes, length = _INFO.unpack_from(data)
        rest = bytes(data[_INFO.size :])
        return cls(last_used_s, place, num_bytes, rest[:length], rest[length:])


class _Table:
    """The sessions within one transaction that may change them."""

    def __init__(self, transaction: lmdb.Transaction[bytes]) -> None:
        self._transaction = transaction
        self._next_place, self.num_sessions, self.num_bytes = _totals(transaction.get(b"T"))

    def put(self, key: bytes, data: bytes, now_s: float, label: SessionLabel | None) -> None:
        """Store a state as the one used last."""
        before = self._info(key)
        if before is not None:
            self._displace(before)
        owner, text = (b"", b"") if label is None else (label.owner.encode("ascii"), label.text)
        self._transaction.put(b"D" + key, data)
        self._place(key, _Info(now_s, 0, len(data), owner, text))
        self.num_sessions += before is None
        self.num_bytes += len(data) - (0 if before is None else before.num_bytes)

    def touch(self, key: bytes, now_s: float) -> None:
        """Make a session the one used last, if it is there."""
        info = self._info(key)
        if info is not None:
            self._displace(info)
            self._place(key, info._replace(last_used_s=now_s))

    def drop(self, key: bytes) -> bool:
        """Delete a session; whether it was there."""
        info = self._info(key)
        if info is None:
            return False
        self._displace(info)
        self._transaction.delete(b"I" + key)
        self._transaction.delete(b"D" + key)
        self.num_sessions -= 1
        self.num_bytes -= info.num_bytes
        return True

    def fits(self, limits: SessionLimits) -> bool:
        """Whether the sessions are within their limits."""
        return self.num_sessions <= limits.max_sessions and self.num_bytes <= limits.max_total_bytes

    def drop_until(self, is_enough: Callable[[_Info], bool]) -> int:
        """Delete the sessions used least recently until `is_enough` of the next one; how many that were."""
        dropped = 0
        while (oldest := self._oldest()) is not None and not is_enough(oldest[1]):
            self.drop(oldest[0])
            dropped += 1
        return dropped

    def finish(self) -> None:
        """Write the totals: before the transaction ends."""
        self._transaction.put(b"T", _TOTALS.pack(self._next_place, self.num_sessions, self.num_bytes))

    def _oldest(self) -> tuple[bytes, _Info] | None:
        with self._transaction.cursor() as cursor:
            if not cursor.set_range(b"O") or not cursor.key().startswith(b"O"):
                return None
            key = cursor.value()
        info = self._info(key)
        return None if info is None else (key, info)

    def _info(self, key: bytes) -> _Info | None:
        data = self._transaction.get(b"I" + key)
        return None if data is None else _Info.from_bytes(data)

    def _place(self, key: bytes, info: _Info) -> None:
        info = info._replace(place=self._next_place)
        self._next_place += 1
        self._transaction.put(b"I" + key, info.to_bytes())
        for record in _records_of(info):
            self._transaction.put(record, key)

    def _displace(self, info: _Info) -> None:
        for record in _records_of(info):
            self._transaction.delete(record)


class SharedSessions:
    """Sessions of all workers of one machine. They are lost when the last of them ends.

    Attributes:
        num_evicted: sessions that this worker evicted to make room, the least recently used first.
        num_expired: sessions that this worker dropped because they were unused for too long.
        failures: commands that failed, by reason.
    """

    def __init__(self, folder: Path, limits: SessionLimits, clock: Callable[[], float] = time.monotonic) -> None:
        """Open the store in a folder that all workers have. `clock` must be the same for all of them.

        Raises:
            OSError: the folder has no room, or cannot be used.
        """
        self.num_evicted = 0
        self.num_expired = 0
        self.failures: Counter[str] = Counter()
        self.limits = limits
        self.clock = clock
        self._store = SharedStore(folder / "sessions", limits.max_total_bytes + limits.max_sessions * _RECORD_BYTES)
        self._locks = ProcessLocks(folder / "sessions" / "holds")
        self._held: set[int] = set()

    def __len__(self) -> int:
        return self._read_totals()[1]

    @property
    def num_bytes(self) -> int:
        """Total size of the states."""
        return self._read_totals()[2]

    @asynccontextmanager
    async def hold(self, key: str, label: SessionLabel | None = None) -> AsyncIterator[HeldSession]:
        """See `SessionStore.hold`."""
        number = _number_of(key)
        if number in self._held or not self._lock(number):
            raise busy()
        self._held.add(number)
        session = _HeldSharedSession(self, key.encode(), label)
        try:
            yield session
        finally:
            session.finish()
            self._held.discard(number)
            self._locks.unlock(number)

    async def kept_by(self, owner: str) -> list[KeptSession]:
        """See `SessionStore.kept_by`."""
        oldest_s = self.clock() - self.limits.ttl_s
        first = _list_record(owner.encode("ascii"), 0)

        def look(transaction: lmdb.Transaction[memoryview]) -> list[KeptSession]:
            found: list[KeptSession] = []
            for key in _listed(transaction, first):
                info = _Info.from_bytes(transaction.get(b"I" + key, b""))
                if info.last_used_s > oldest_s and len(found) < MAX_LISTED:
                    found.append(KeptSession(key.decode(), info.label, info.num_bytes, info.last_used_s - oldest_s))
            return found

        return self.look(look)

    async def check(self) -> None:
        """See `SessionStore.check`."""
        self._read_totals()

    async def close(self) -> None:
        """See `SessionStore.close`. The sessions stay for the other workers."""
        self._store.close()
        self._locks.close()

    def look(self, look: Callable[[lmdb.Transaction[memoryview]], T]) -> T:
        """What `look` finds in the store. Raises NotReady."""
        try:
            return self._store.look(look)
        except StoreBroken as error:
            raise self._away(error) from error

    def change(self, change: Callable[[_Table], T], *, makes_room: bool = True) -> T:
        """Drop what has expired, and change the sessions. Where there is no room, others are evicted for it.

        Raises:
            NotReady: the store cannot be used.
            SessionStoreFull: there is no room, and nothing to evict.
        """
        oldest_s = self.clock() - self.limits.ttl_s
        expired = 0

        def work(transaction: lmdb.Transaction[bytes]) -> T:
            nonlocal expired
            table = _Table(transaction)
            expired = table.drop_until(lambda info: info.last_used_s > oldest_s)
            result = change(table)
            table.finish()
            return result

        try:
            result = self._store.change_with_room(work, self._evict if makes_room else _nothing)
        except StoreFull as error:
            self.failures["full"] += 1
            raise SessionStoreFull("there is no room for sessions at the moment", [_FULL]) from error
        except StoreBroken as error:
            raise self._away(error) from error
        self.num_expired += expired
        return result

    def _evict(self, transaction: lmdb.Transaction[bytes], count: int) -> bool:
        table = _Table(transaction)
        left = iter(range(count))
        evicted = table.drop_until(lambda _: next(left, None) is None)
        table.finish()
        self.num_evicted += evicted
        return evicted > 0

    def _lock(self, number: int) -> bool:
        try:
            return self._locks.lock_now(number)
        except OSError as error:
            raise self._away(error) from error

    def _read_totals(self) -> tuple[int, int, int]:
        try:
            return self._store.look(lambda transaction: _totals(transaction.get(b"T")))
        except StoreClosed:  # the last metrics are measured after it
            return 0, 0, 0
        except StoreBroken as error:
            self._away(error)
            return 0, 0, 0

    def _away(self, error: Exception) -> NotReady:
        self.failures["unreachable"] += 1
        logger.warning("the session store does not answer as it should", extra={"reason": str(error)})
        return NotReady("sessions cannot be reached at the moment", ["the session store does not answer"])


_FULL = "the session store has no room left"


class _HeldSharedSession:
    """One session of the store. Loading is use, which is noted with what is saved, or else at the end."""

    def __init__(self, store: SharedSessions, key: bytes, label: SessionLabel | None) -> None:
        self._store = store
        self._key = key
        self._label = label
        self._was_loaded_s: float | None = None

    async def load(self) -> bytes | None:
        store, key = self._store, self._key
        now_s = store.clock()

        def look(transaction: lmdb.Transaction[memoryview]) -> bytes | None:
            info, data = transaction.get(b"I" + key), transaction.get(b"D" + key)
            is_there = info is not None and _Info.from_bytes(info).last_used_s > now_s - store.limits.ttl_s
            return bytes(data) if is_there and data is not None else None

        found = store.look(look)
        self._was_loaded_s = None if found is None else now_s
        return found

    async def save(self, data: bytes) -> None:
        require_small(data, self._store.limits.max_session_bytes)
        self._was_loaded_s = None
        try:
            self._save(data)
        except SessionStoreFull:
            # The state before is of no use any more, and nobody should continue from it.
            await self._delete_old_state()
            raise

    async def delete(self) -> bool:
        self._was_loaded_s = None
        return self._store.change(lambda table: table.drop(self._key))

    def finish(self) -> None:
        """Note the use, where nothing was saved. It is not worth failing the request."""
        if self._was_loaded_s is None:
            return
        now_s = self._was_loaded_s
        try:
            self._store.change(lambda table: table.touch(self._key, now_s), makes_room=False)
        except (NotReady, SessionStoreFull):
            logger.warning("a session was used, and may expire too early: the session store has no room")

    def _save(self, data: bytes) -> None:
        store = self._store

        def change(table: _Table) -> int:
            table.put(self._key, data, store.clock(), self._label)
            return 0 if table.fits(store.limits) else table.drop_until(lambda _: table.fits(store.limits))

        evicted = store.change(change)  # which may evict more, and count it
        store.num_evicted += evicted

    async def _delete_old_state(self) -> None:
        """Raises NotReady where there is no room for that either: the request fails, and the session is as it was."""
        try:
            await self.delete()
        except SessionStoreFull as error:
            raise NotReady("sessions cannot be reached at the moment", [_FULL]) from error


def _nothing(_: Any, *, count: int) -> bool:
    """Make no room, however much is asked for."""
    del count
    return False


def _totals(data: bytes | memoryview | None) -> tuple[int, int, int]:
    return (0, 0, 0) if data is None else _TOTALS.unpack(data)


def _records_of(info: _Info) -> list[bytes]:
    """The records that say where a session is in the orders of use: of all, and of its owner."""
    order = [b"O" + _PLACE.pack(info.place)]
    return [*order, _list_record(info.owner, info.place)] if info.owner else order


def _list_record(owner: bytes, place: int) -> bytes:
    return b"L" + owner + b"\0" + _PLACE.pack(place)


def _listed(transaction: lmdb.Transaction[memoryview], first: bytes) -> list[bytes]:
    """The keys of the sessions of an owner, those used last first."""
    start = first[: -_PLACE.size]
    found: list[bytes] = []
    with transaction.cursor() as cursor:
        is_there = cursor.set_range(first)
        while is_there and bytes(cursor.key()).startswith(start):
            found.append(bytes(cursor.value()))
            is_there = cursor.next()
    return found[::-1]


def _number_of(key: str) -> int:
    """The number of the lock of a session: two of the same number would exclude each other, once in 2^62 pairs."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest()) % NUMBERS
