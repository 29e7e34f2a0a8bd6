"""The log of the supervisor, and the turns in which processes write to one standard error.

The supervisor must have no threads when it forks, so it writes each line itself; it has few. A pipe that is full loses
lines instead of holding it up.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from service.observability.json_logs import JsonFormatter
from service.observability.log_writer import keep_standard_error

_FILE = "log.lock"
_STANDARD_ERROR = 2
_TRY_EVERY_S = 0.002
#: A process that is stopped in its turn must not keep the others from writing.
_MAX_WAIT_S = 1.0


class LogTurn:
    """A turn to write whole lines: a pipe mixes what is longer than 4 KiB. Make it after forking."""

    def __init__(self, folder: Path) -> None:
        self._descriptor = os.open(folder / _FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def __enter__(self) -> None:
        until_s = time.monotonic() + _MAX_WAIT_S
        while time.monotonic() < until_s:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError:
                time.sleep(_TRY_EVERY_S)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)


class DirectHandler(logging.Handler):
    """Writes each record at once, or drops it. It never raises."""

    def __init__(self, turn: LogTurn) -> None:
        super().__init__()
        self._turn = turn

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(Exception), self._turn:
            os.write(_STANDARD_ERROR, self.format(record).encode("utf-8", "backslashreplace") + b"\n")


def configure_supervisor_log(level: str, folder: Path) -> None:
    """Log to standard error as JSON without a thread."""
    os.close(keep_standard_error())
    handler = DirectHandler(LogTurn(folder))
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
