"""Log writer: a bounded queue of lines and a thread that writes them, so that a request never waits for a log.

Whatever becomes of the file or pipe (nobody reads it, it was closed, its disk is full), lines are kept until the queue
is full, then dropped and counted. The first line written afterwards says how many were lost and why.
"""

from __future__ import annotations

import os
import select
import stat
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

#: The longest time that a line waits before it is written, unless it is urgent.
_WRITE_EVERY_S = 0.25
#: More waiting bytes than this are written at once.
_WAKE_BYTES = 256 * 1024
_MAX_QUEUE_BYTES = 8 * 1024 * 1024
#: Ordinary lines leave the rest of the queue to warnings and errors.
_ORDINARY_SHARE = 0.75
_MAX_WRITE_BYTES = 64 * 1024
#: Pause after a failed write; a full disk is asked again this often.
_RETRY_S = 0.5

#: Makes the line that tells of lost ones, from their number and the reason.
Notice = Callable[[int, str], str]


class LogWriter:
    """Writes lines to a file descriptor from a thread of its own. No method blocks for it, except `flush`.

    Attributes:
        num_dropped: lines that were lost since the start.
    """

    def __init__(self, descriptor: int, notice: Notice, max_queue_bytes: int = _MAX_QUEUE_BYTES) -> None:
        """Take a descriptor, which stays open; a duplicate keeps it from being closed under the thread."""
        self.num_dropped = 0
        self._descriptor = descriptor
        self._notice = notice
        self._max_bytes = max_queue_bytes
        self._ordinary_bytes = int(max_queue_bytes * _ORDINARY_SHARE)
        self._lines: deque[bytes] = deque()
        self._num_bytes = 0
        self._num_untold = 0
        self._reason = "they were not read fast enough"
        self._lock = threading.Lock()  # held for a few instructions only, never while writing
        self._wake = threading.Event()
        self._is_empty = threading.Event()
        self._is_empty.set()
        #: False means that `_is_empty` is clear.
        self._may_be_empty = True
        self._thread: threading.Thread | None = None

    def add(self, line: str | bytes, is_urgent: bool = False) -> None:
        """Queue a line without its line end, or drop it if there is no room. Urgent ones are written at once."""
        data = line + b"\n" if isinstance(line, bytes) else _encoded(line)
        room = self._max_bytes if is_urgent else self._ordinary_bytes
        with self._lock:
            num_bytes = self._num_bytes + len(data)
            if num_bytes > room:
                self._count_dropped()
                return
            self._lines.append(data)
            self._num_bytes = num_bytes
            if self._may_be_empty:  # a look costs less than to clear the event again
                self._may_be_empty = False
                self._is_empty.clear()
            if self._thread is None:
                self._start()
        if is_urgent or num_bytes > _WAKE_BYTES:
            self._wake.set()

    def drop(self, reason: str) -> None:
        """Count a line that could not even be made."""
        with self._lock:
            self._count_dropped()
            self._reason = reason

    def flush(self, timeout_s: float) -> bool:
        """Wait until all lines are written, at most `timeout_s`; whether they are."""
        self._wake.set()
        return self._is_empty.wait(timeout_s)

    def _count_dropped(self) -> None:
        self.num_dropped += 1
        self._num_untold += 1
        self._is_empty.clear()
        if self._thread is None:
            self._start()

    def _start(self) -> None:
        """Start the thread with the first line, so that it exists in the process that logs, forked or not."""
        self._thread = threading.Thread(target=self._write_on, name="log-writer", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # no more threads, or the interpreter is closing: the next line tries again
            self._thread = None

    def _write_on(self) -> None:
        rest = b""
        while True:
            if not rest:
                rest = self._take()
            if not rest:
                self._wake.wait(_WRITE_EVERY_S)
                self._wake.clear()
                continue
            try:
                rest = rest[self._write(rest) :]
            except Exception as error:  # whatever is wrong with the file, the next attempt may work
                self._reason = str(error) or type(error).__name__
                time.sleep(_RETRY_S)

    def _take(self) -> bytes:
        """Up to `_MAX_WRITE_BYTES` of whole lines, led by the notice of those that were lost before."""
        with self._lock:
            taken, num_bytes = [], 0
            if self._num_untold:
                taken.append(_encoded(self._notice(self._num_untold, self._reason)))
                self._num_untold = 0
            while self._lines and num_bytes < _MAX_WRITE_BYTES:
                line = self._lines.popleft()
                taken.append(line)
                num_bytes += len(line)
            self._num_bytes -= num_bytes
            if not taken:
                self._may_be_empty = True
                self._is_empty.set()
        return b"".join(taken)

    def _write(self, data: bytes) -> int:
        """The number of bytes written, 0 if the reader is behind. Raises OSError."""
        try:
            return os.write(self._descriptor, data[:_MAX_WRITE_BYTES])
        except BlockingIOError:
            select.select([], [self._descriptor], [], _RETRY_S)
            return 0


def _encoded(line: str) -> bytes:
    return line.encode("utf-8", "backslashreplace") + b"\n"


def keep_standard_error(descriptor: int = 2) -> int:
    """A private duplicate of standard error for a `LogWriter`; of the null device if the process was started without.

    What libraries written in C still print to `descriptor` itself must not block a thread of ours either: a pipe or
    terminal is opened once more without blocking, which leaves other programs that share it as they are. A socket or a
    file stays as it is.
    """
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError:
        # A file opened later must not get this number, or it would receive what is meant as error output.
        null = os.open(os.devnull, os.O_WRONLY)
        if null != descriptor:
            os.dup2(null, descriptor)
            os.close(null)
        return os.dup(descriptor)
    kept = os.dup(descriptor)
    if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
        with suppress(OSError):  # no /proc, no reader, or not our file: it stays as it is
            reopened = os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
            os.dup2(reopened, descriptor)
            os.close(reopened)
    return kept
