"""Locks between processes of one machine, each on a number. The kernel releases those of a process that dies.

They are open file description locks of Linux: whoever opens the file again is another holder, in the same process too.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import sys
import time
from pathlib import Path

#: Numbers are below it: they are offsets in a file.
NUMBERS = 1 << 62
#: Tries before the processor is given away, to the holder for instance; then tries before it is slept for so long.
_EAGER_TRIES, _YIELDING_TRIES = 4, 16
_PAUSE_S = 0.0001
#: struct flock: kind, whence, start, length, process.
_RANGE = struct.Struct("hhqqi4x")
_UNLOCKED = _RANGE.pack(fcntl.F_UNLCK, os.SEEK_SET, 0, 1, 0)[:2]


class ProcessLocks:
    """The locks of one file. A lock is exclusive; whoever has it must not take it again.

    Where a lock cannot be taken or given back for another reason than a holder, the calls raise OSError.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, or make it: only its owner may use it. Raises OSError, also where there are no such locks."""
        if sys.platform != "linux":
            raise OSError(errno.ENOTSUP, "processes share states and limits on Linux only")
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def lock_now(self, number: int) -> bool:
        """Take the lock unless another holds it; whether it was taken."""
        return self.take(taking(number))

    def unlock(self, number: int, count: int = 1) -> None:
        """Give back the lock, or those of `count` numbers."""
        self.give_back(giving_back(number, count))

    def is_free(self, number: int, count: int = 1) -> bool:
        """Whether nobody else holds the lock, or any of those of `count` numbers."""
        answer = fcntl.fcntl(self._descriptor, fcntl.F_OFD_GETLK, taking(number, count))
        return answer[:2] == _UNLOCKED

    def lock_within(self, request: bytes, patience_s: float) -> bool:
        """Take the lock of `taking(number)`; whether it was taken in time. The thread waits, for microseconds at best.

        A holder that was killed has none any more; one that is stopped keeps it, and is not waited for longer.
        """
        for _ in range(_EAGER_TRIES):
            if self.take(request):
                return True
        ends_s = time.monotonic() + patience_s
        yields_left = _YIELDING_TRIES
        while time.monotonic() < ends_s:
            if yields_left:
                yields_left -= 1
                os.sched_yield()
            else:
                time.sleep(_PAUSE_S)
            if self.take(request):
                return True
        return False

    def take(self, request: bytes) -> bool:
        """Take the lock of `taking(number)` unless another holds it; whether it was taken."""
        try:
            fcntl.fcntl(self._descriptor, fcntl.F_OFD_SETLK, request)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            raise
        return True

    def give_back(self, request: bytes) -> None:
        """Give back the lock of `giving_back(number)`."""
        fcntl.fcntl(self._descriptor, fcntl.F_OFD_SETLK, request)

    def close(self) -> None:
        """Release all locks."""
        os.close(self._descriptor)


def taking(number: int, count: int = 1) -> bytes:
    """What asks for the lock of a number, or of several: made once for locks that are taken often."""
    return _RANGE.pack(fcntl.F_WRLCK, os.SEEK_SET, number, count, 0)


def giving_back(number: int, count: int = 1) -> bytes:
    """What gives it back."""
    return _RANGE.pack(fcntl.F_UNLCK, os.SEEK_SET, number, count, 0)
