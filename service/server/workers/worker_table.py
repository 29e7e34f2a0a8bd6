"""The table of workers: state, connections and heartbeat of each, in memory that all of them map.

Every cell has one writer and is one machine word, so that nobody locks: a reader sees the value before or after.
"""

from __future__ import annotations

import mmap
import os
import time
from enum import IntEnum
from pathlib import Path

_FILE = "workers.table"
_WORD_BYTES = 8
_PID, _STATE, _CONNECTIONS, _SEEN_NS, _STANDSTILL, _WAS_READY, _NUM_FIELDS = range(7)


class WorkerState(IntEnum):
    """How far a worker is."""

    ABSENT = 0
    STARTING = 1
    LOADING = 2
    READY = 3
    STOPPING = 4


class WorkerTable:
    """The cells of `count` workers. Times are of the clock `time.monotonic`, which all processes share."""

    def __init__(self, folder: Path, count: int) -> None:
        """Map the table in a group's folder; the first to do so makes it. Raises OSError where it has no room."""
        self.count = count
        size = _WORD_BYTES * count * (_NUM_FIELDS + count)
        descriptor = os.open(folder / _FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, size)  # memory that is not there would be a signal that kills the process
            self._cells = memoryview(mmap.mmap(descriptor, size)).cast("q")
        finally:
            os.close(descriptor)

    def enter(self, index: int, state: WorkerState) -> None:
        """A new process takes the place of this index."""
        self._cells[self._at(index, _CONNECTIONS)] = 0
        self._cells[self._at(index, _STANDSTILL)] = 0
        self._cells[self._at(index, _PID)] = os.getpid()
        self.beat(index)
        self.set_state(index, state)

    def clear(self, index: int) -> None:
        """The process of this index has ended."""
        self.set_state(index, WorkerState.ABSENT)
        self._cells[self._at(index, _CONNECTIONS)] = 0

    def beat(self, index: int, is_stuck: bool = False) -> None:
        """It makes progress; `is_stuck`: its lanes do not, and only a restart helps."""
        self._cells[self._at(index, _STANDSTILL)] = int(is_stuck)
        self._cells[self._at(index, _SEEN_NS)] = time.monotonic_ns()

    def set_state(self, index: int, state: WorkerState) -> None:
        if state is WorkerState.READY:
            self._cells[self._at(index, _WAS_READY)] = 1
        self._cells[self._at(index, _STATE)] = state

    def set_connections(self, index: int, num_connections: int) -> None:
        self._cells[self._at(index, _CONNECTIONS)] = num_connections

    def pid(self, index: int) -> int:
        return self._cells[self._at(index, _PID)]

    def state(self, index: int) -> WorkerState:
        return WorkerState(self._cells[self._at(index, _STATE)])

    def connections(self, index: int) -> int:
        return self._cells[self._at(index, _CONNECTIONS)]

    @property
    def was_complete(self) -> bool:
        """Whether every worker, or one that it replaces, has been ready."""
        return all(self._cells[self._at(index, _WAS_READY)] for index in range(self.count))

    def is_stuck(self, index: int) -> bool:
        return bool(self._cells[self._at(index, _STANDSTILL)])

    def silent_s(self, index: int) -> float:
        """Seconds since the last sign of life."""
        return (time.monotonic_ns() - self._cells[self._at(index, _SEEN_NS)]) / 1e9

    def received(self, receiver: int, sender: int) -> int:
        """Connections that a worker has taken over from another since the table was made."""
        return self._cells[self._received_at(receiver, sender)]

    def add_received(self, receiver: int, sender: int, num_connections: int) -> None:
        """Called by the receiver."""
        self._cells[self._received_at(receiver, sender)] += num_connections

    def _at(self, index: int, field: int) -> int:
        return index * _NUM_FIELDS + field

    def _received_at(self, receiver: int, sender: int) -> int:
        return self.count * (_NUM_FIELDS + receiver) + sender
