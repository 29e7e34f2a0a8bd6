"""Limits of keys that all workers of a service share: an array in memory with a place for each key that has limits.

A place has the two numbers of its rate limits, and for each process the requests that it has open, which only that
process writes. A lock of the kernel on the place is held for the microseconds of a change; it ends with its holder, and
each number is written as a whole, so that a process that is killed at any moment leaves nothing half done. What a
killed process had open is noticed by the lock that every process holds while it lives.
"""

from __future__ import annotations

import hashlib
import logging
import mmap
import os
from pathlib import Path
from types import TracebackType

from service.access.rate_limit import Headers, RateLimit
from service.process_locks import ProcessLocks, giving_back, taking

logger = logging.getLogger(__name__)

_MAGIC = 0x756E726F6C6C3031
_WORD_BYTES = 8
#: Words of the header: what it is, places, processes.
_HEADER_WORDS = 3
#: Words of a place before those of the processes: the digest of a key, and the two rate limits.
_KEY_WORDS = 4
_LIMIT_WORDS = {"requests": 2, "tokens": 3}
_MIN_PLACES = 1024
#: Places for each key at the start: keys that come later need some too.
_PLACES_PER_KEY = 4
#: A worker that is replaced may still have requests while the next one begins.
_PROCESSES_PER_WORKER, _SPARE_PROCESSES = 2, 2
#: Numbers of locks; that of a place is its number.
_TABLE_LOCK, _PROCESS_LOCKS = 1 << 61, 1 << 60
#: A process that was stopped in the microseconds in which it holds a lock is not waited for longer.
_PATIENCE_S, _TABLE_PATIENCE_S = 1.0, 30.0


class SharedLimits:
    """The array, as one process uses it, in its event loop.

    Attributes:
        locks: one for each place, held while it is changed.
        process, num_processes: the column of this process among all that can be open.
        times, counts: the words of the array, as floating-point and as whole numbers.
    """

    def __init__(self, folder: Path, num_workers: int, num_keys: int) -> None:
        """Open the array, or make it, for so many workers and keys to begin with.

        Raises:
            OSError: the folder has no room, or more processes than expected have it open.
        """
        self.locks = ProcessLocks(folder / "limits.locks")
        if not self.locks.lock_within(taking(_TABLE_LOCK), _TABLE_PATIENCE_S):
            raise TimeoutError("the limits of keys are being changed by another process, which does not go on")
        try:
            self._map(folder / "limits", num_workers, num_keys)
        finally:
            self.locks.unlock(_TABLE_LOCK)
        self.process = self._enter()

    def place_of(self, identity: str) -> KeyPlace | None:
        """The place of a key, by its identity; None if there is none left, which is logged."""
        if not self.locks.lock_within(taking(_TABLE_LOCK), _TABLE_PATIENCE_S):
            return None
        try:
            number = self._find(hashlib.blake2b(identity.encode("utf-8", "surrogatepass"), digest_size=16).digest())
        finally:
            self.locks.unlock(_TABLE_LOCK)
        if number is None:
            logger.error("too many keys with limits since the start: this one's are counted by each worker for itself")
            return None
        return KeyPlace(self, number)

    def forget_dead(self, number: int) -> None:
        """Count what processes that ended had open of a key no more."""
        start = self.first_open(number)
        for process in range(self.num_processes):
            is_open = process != self.process and self.counts[start + process]
            if is_open and self.locks.is_free(_PROCESS_LOCKS + process):
                self.counts[start + process] = 0

    def first_open(self, number: int) -> int:
        """Where a place has what processes have open, one word for each."""
        return self.first_word(number) + _KEY_WORDS

    def first_word(self, number: int) -> int:
        """Where a place begins."""
        return _HEADER_WORDS + number * (_KEY_WORDS + self.num_processes)

    def close(self) -> None:
        """Leave: what this process has open counts no more."""
        self.locks.close()

    def _map(self, path: Path, num_workers: int, num_keys: int) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        is_new = os.fstat(descriptor).st_size == 0
        try:
            if is_new:
                num_places = max(_MIN_PLACES, _PLACES_PER_KEY * num_keys)
                num_processes = _PROCESSES_PER_WORKER * num_workers + _SPARE_PROCESSES
                num_words = _HEADER_WORDS + num_places * (_KEY_WORDS + num_processes)
                # Else a folder that is full would kill whoever writes.
                os.posix_fallocate(descriptor, 0, num_words * _WORD_BYTES)
            view = memoryview(mmap.mmap(descriptor, 0))
        except OSError:
            if is_new:
                os.ftruncate(descriptor, 0)
            raise
        finally:
            os.close(descriptor)
        self.times, self.counts = view.cast("d"), view.cast("q")
        if is_new:
            self.counts[1], self.counts[2] = num_places, num_processes
            self.counts[0] = _MAGIC
        _, self._num_places, self.num_processes = self.counts[:_HEADER_WORDS]

    def _enter(self) -> int:
        """Take one of the columns, and clear what a process before has left in it. Raises OSError."""
        for process in range(self.num_processes):
            if self.locks.lock_now(_PROCESS_LOCKS + process):
                step = _KEY_WORDS + self.num_processes
                for word in range(_HEADER_WORDS + _KEY_WORDS + process, len(self.counts), step):
                    self.counts[word] = 0
                return process
        raise OSError(f"{self.num_processes} processes have the limits of keys open, more than were expected")

    def _find(self, digest: bytes) -> int | None:
        """The place with a digest, or the first free one, which is taken."""
        high, low = (int.from_bytes(half, "little", signed=True) for half in (digest[:8], digest[8:]))
        for step in range(self._num_places):
            number = (high + step) % self._num_places
            word = self.first_word(number)
            there = self.counts[word], self.counts[word + 1]
            if there == (high, low):
                return number
            if there == (0, 0):
                self.counts[word], self.counts[word + 1] = high, low
                return number
        return None


class KeyPlace:
    """The place of one key. Inside `with`, which may be nested, no other process changes it.

    Unless a process was stopped in the middle of a change: it is waited for a second, and no longer.
    """

    def __init__(self, limits: SharedLimits, number: int) -> None:
        self._limits = limits
        self._number = number
        self._taking, self._giving_back = taking(number), giving_back(number)
        self._first_word = limits.first_word(number)
        first = limits.first_open(number)
        self._open_words = slice(first, first + limits.num_processes)
        self._own_word = first + limits.process
        self._counts = limits.counts
        self._depth = 0
        self.times = limits.times

    def __enter__(self) -> None:
        self._depth += 1
        if self._depth > 1:
            return
        try:
            self._limits.locks.lock_within(self._taking, _PATIENCE_S)
        except OSError as error:
            logger.error("a limit of a key is counted without a lock", extra={"reason": str(error)})

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._depth -= 1
        if not self._depth:
            self._limits.locks.give_back(self._giving_back)

    def rate_limit(self, per_minute: int, kind: str) -> RateLimit:
        """A limit a minute of this key, which all processes count."""
        return SharedRateLimit(per_minute, kind, self, self._first_word + _LIMIT_WORDS[kind])

    def open_one(self, num_open: int, max_open: int) -> bool:
        """Whether one more request may be open, besides `num_open` of this process; then it counts."""
        with self:
            if num_open + self._num_open_of_others() >= max_open:
                self._limits.forget_dead(self._number)
                if num_open + self._num_open_of_others() >= max_open:
                    return False
            self._counts[self._own_word] = num_open + 1
            return True

    def set_open(self, num_open: int) -> None:
        """Tell the others how many requests this process has open."""
        self._counts[self._own_word] = num_open

    def _num_open_of_others(self) -> int:
        return sum(self._counts[self._open_words]) - self._counts[self._own_word]


class SharedRateLimit(RateLimit):
    """A limit whose number is in the place of its key. As exact as one of a single process."""

    __slots__ = ("_place", "_times", "_word")

    def __init__(self, per_minute: int, kind: str, place: KeyPlace, word: int) -> None:
        self._place, self._times, self._word = place, place.times, word
        super().__init__(per_minute, kind)

    def wait_s(self, now_s: float) -> float:
        self._full_at_s = self._times[self._word]
        return super().wait_s(now_s)

    def take(self, now_s: float, units: int = 1) -> None:
        with self._place:
            self._full_at_s = self._times[self._word]
            super().take(now_s, units)
            self._times[self._word] = self._full_at_s

    def take_one(self, now_s: float) -> float:
        with self._place:
            self._full_at_s = self._times[self._word]
            wait_s = super().take_one(now_s)
            self._times[self._word] = self._full_at_s
        return wait_s

    def headers(self, now_s: float) -> Headers:
        self._full_at_s = self._times[self._word]
        return super().headers(now_s)

    def state(self, now_s: float) -> tuple[int, int]:
        self._full_at_s = self._times[self._word]
        return super().state(now_s)
