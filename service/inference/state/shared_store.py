"""Shared store: a key-value store (LMDB) in a folder in memory, which the workers of one machine open together.

A change is a transaction: others see all of it or nothing, also when the process that makes it is killed. Reading waits
for nobody. A store that is full says so. One that is broken is put aside for a new, empty one, by whoever finds it
broken; the others notice it by a number that all of them see.
"""

from __future__ import annotations

import errno
import logging
import mmap
import os
import shutil
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar
from weakref import WeakValueDictionary

import lmdb

from service.process_locks import ProcessLocks, taking

logger = logging.getLogger(__name__)

T = TypeVar("T")
Change = Callable[["lmdb.Transaction[bytes]"], T]
MakeRoom = Callable[..., bool]
Look = Callable[["lmdb.Transaction[memoryview]"], T]

#: Transactions that may read at once, over all processes: each thread that reads takes part.
_MAX_READERS = 1024
_READER_BYTES = 64
#: Pages that a transaction and the free list need besides the values.
_SPARE_BYTES = 4 * 1024 * 1024
#: Values fill whole pages, and rarely the last one; what was deleted leaves gaps.
_ROOM = 1.5
_MENDING, _PATIENCE_S = 0, 10.0
_MAX_EVICTIONS = 8
_DELETED_AT_ONCE = (16, 4, 1)
#: A key that nobody reads.
_SETTLED = b"\0settled"
#: Of the system, where a file cannot grow: no space, no quota, or a limit on files. LMDB says EIO if it grew by a part.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
#: Pages at the end that a transaction took and gave back are never written.
_UNWRITTEN_BYTES = 1024 * 1024


class StoreFull(Exception):
    """There is no room: neither in the store, nor, if it was to grow, in the memory of the folder."""


class StoreBroken(Exception):
    """The store cannot be used at the moment. The message says why."""


class StoreClosed(StoreBroken):
    """This process has closed the store."""


class SharedStore:
    """One store. Any thread may use it.

    Attributes:
        path: its folder.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        """Open the store, or make it: for values of `max_bytes` together. Several of a process may have it open.

        Raises:
            OSError: the folder cannot be written, or has no room.
        """
        self.path = path
        self._map_bytes = int(max_bytes * _ROOM) + _SPARE_BYTES
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._locks = ProcessLocks(path / "mending")
        self._generations = _shared_number(path / "generation")
        self._opening = threading.Lock()
        self._generation = -1
        self._is_closed = False
        self._environment: lmdb.Environment | None = None
        try:
            self._now_open()
        except StoreBroken:  # what was there is put aside
            self._open_anew()

    def look(self, look: Look[T]) -> T:
        """What `look` finds; it gets views that end with the transaction. Raises StoreBroken."""
        environment = self._now_open()
        try:
            try:
                with environment.begin(buffers=True) as transaction:
                    return look(transaction)
            except lmdb.ReadersFullError:
                environment.reader_check()  # those of processes that were killed
                with environment.begin(buffers=True) as transaction:
                    return look(transaction)
        except lmdb.Error as error:
            raise self._broken(error) from error

    def change(self, change: Change[T]) -> T:
        """Make a change: all of it, or, where it raises, nothing. Raises StoreFull, StoreBroken."""
        environment = self._now_open()
        try:
            with environment.begin(write=True) as transaction:
                return change(transaction)
        except lmdb.Error as error:
            if not (isinstance(error, lmdb.MapFullError | lmdb.TxnFullError) or _code_of(error) in _NO_ROOM):
                raise self._broken(error) from error
            # A reader that was killed keeps what it could see from being used again.
            environment.reader_check()
            raise StoreFull(str(error)) from error

    def change_with_room(self, change: Change[T], make_room: MakeRoom) -> T:
        """Make a change, after `make_room` as often as needed: it deletes `count` values; False: there were none.

        Raises StoreFull, StoreBroken.
        """
        for _ in range(_MAX_EVICTIONS):
            try:
                return self.change(change)
            except StoreFull:
                if not self._make_room(make_room):
                    raise
        return self.change(change)

    def _make_room(self, make_room: MakeRoom) -> bool:
        """Deleting takes a little room as well: the less is deleted at once, the less."""
        for count in _DELETED_AT_ONCE:
            try:
                if not self.change(partial(make_room, count=count)):
                    return False
                # The room of what a transaction deletes can be used by the one after the next.
                self.change(lambda transaction: transaction.put(_SETTLED, b""))
            except StoreFull:
                continue
            return True
        return False

    def close(self) -> None:
        """Leave the store. What it has stays for the others."""
        with self._opening:
            self._is_closed = True
            self._environment = None  # closed when the last thread has left it
            self._locks.close()

    def _open_anew(self) -> None:
        try:
            self._now_open()
        except StoreBroken as error:
            raise OSError(str(error)) from error

    def _now_open(self) -> lmdb.Environment:
        environment = self._environment
        if environment is None or self._generations[0] != self._generation:
            with self._opening:
                environment = self._opened()
        return environment

    def _opened(self) -> lmdb.Environment:
        """The environment of the current generation. Raises StoreBroken."""
        if self._is_closed:
            raise StoreClosed("the store was closed")
        if self._environment is None or self._generations[0] != self._generation:
            generation = self._generations[0]
            self._environment = None  # its memory is free when all have left it
            try:
                self._environment = _environments.open(self.path / str(generation), self._map_bytes)
            except lmdb.Error as error:
                raise self._replaced(generation, error) from error
            except OSError as error:
                raise StoreBroken(error.strerror or str(error)) from error
            self._generation = generation
        return self._environment

    def _broken(self, error: lmdb.Error) -> StoreBroken:
        with self._opening:
            return self._replaced(self._generation, error)

    def _replaced(self, generation: int, error: lmdb.Error) -> StoreBroken:
        """Begin a new generation, unless another process has: this change fails, and the next one finds it empty.

        Not for what says nothing about the content of the store: an error of the system, or too many readers.
        """
        if not isinstance(error, lmdb.CorruptedError) and (
            _code_of(error) >= 0 or isinstance(error, lmdb.ReadersFullError)
        ):
            return StoreBroken(str(error))
        logger.error("a store that workers share is broken, and begins anew", extra={"reason": str(error)})
        if self._locks.lock_within(taking(_MENDING), _PATIENCE_S):
            try:
                if self._generations[0] == generation:
                    shutil.rmtree(self.path / str(generation), ignore_errors=True)
                    self._generations[0] = generation + 1
            finally:
                self._locks.unlock(_MENDING)
        return StoreBroken(str(error))


class _Environments:
    """The environments that this process has open, by their files: LMDB must not open one twice."""

    def __init__(self) -> None:
        self._open: WeakValueDictionary[tuple[int, int], lmdb.Environment] = WeakValueDictionary()
        self._lock = threading.Lock()

    def open(self, path: Path, map_bytes: int) -> lmdb.Environment:
        """Open an environment, or share the one that is open. Raises lmdb.Error, OSError."""
        with self._lock:
            path.mkdir(mode=0o700, exist_ok=True)
            environment = self._open.get(_file_of(path))
            if environment is None:
                environment = _new_environment(path, map_bytes)
                self._open[_file_of(path)] = environment
            return environment


def _code_of(error: lmdb.Error) -> int:
    """Of the system if it is positive, of LMDB if negative; what the binding itself refuses has none."""
    return getattr(error, "code", 0)


def _file_of(path: Path) -> tuple[int, int]:
    try:
        found = (path / "data.mdb").stat()
    except FileNotFoundError:
        return (0, 0)
    return found.st_dev, found.st_ino


def _new_environment(path: Path, map_bytes: int) -> lmdb.Environment:
    _fill(path / "lock.mdb", _MAX_READERS * _READER_BYTES + mmap.PAGESIZE)
    # Without `writemap`, a folder that is full is an error; with it, it would be a signal that kills the process. What
    # is in memory need not be synchronised with anything.
    environment = lmdb.open(
        os.fspath(path), map_size=map_bytes, mode=0o600, sync=False, metasync=False, readahead=False,
        max_readers=_MAX_READERS,
    )  # fmt: skip
    pages = environment.info()["last_pgno"] + 1
    missing = pages * environment.stat()["psize"] - (path / "data.mdb").stat().st_size
    if missing > _UNWRITTEN_BYTES:  # reading what was cut off would be a signal as well
        raise lmdb.CorruptedError(f"the file lacks {missing} bytes")
    environment.reader_check()
    return environment


_environments = _Environments()


def _shared_number(path: Path) -> memoryview:
    """A whole number that all processes see, 0 at first. Raises OSError."""
    _fill(path, mmap.PAGESIZE)
    with path.open("r+b") as file:
        return memoryview(mmap.mmap(file.fileno(), mmap.PAGESIZE)).cast("q")


def _fill(path: Path, num_bytes: int) -> None:
    """Give a file so much memory: writing where there is none is a signal that kills the process. Raises OSError."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, num_bytes)
    finally:
        os.close(descriptor)
