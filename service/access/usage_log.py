"""Usage log: what was used since the last time, appended to one JSONL file a day.

A line says what one key has used of one model between two times, `from` and `to`, of one hour; sum the lines. Lines are
written together, complete, and reach the disk before they count as written: a crash loses what was used since then, and
no line is ever half there. What cannot be written is kept and written the next time.
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.access.usage import Usage, UsageLedger

if TYPE_CHECKING:  # Windows has not what it needs
    from service.access.pending_usage import PendingUsage

logger = logging.getLogger(__name__)

_FILE_MODE = 0o640
_HOST = re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())[:64] or "host"


class UsageLog:
    """The files of one process: replicas that share a folder have files of their own, named by their hosts.

    Attributes:
        num_failures: times that usage could not be written.
    """

    def __init__(
        self,
        folder: Path,
        ledger: UsageLedger,
        clock: Callable[[], float] = time.time,
        host: str = _HOST,
        worker: str = "",
        pending: PendingUsage | None = None,
    ) -> None:
        """`clock` gives seconds since 1970; `worker` tells the files of processes on one host apart.

        `pending` keeps what is not written yet where other workers find it, should this one be killed.
        """
        self.num_failures = 0
        self._folder = folder
        self._ledger = ledger
        self._clock = clock
        self._host = host
        self._worker = worker
        self.pending = pending
        self._is_noted = True
        self._written: dict[tuple[str, str], Usage] = {}
        self._since_s = clock()

    def write(self) -> bool:
        """Append what is new. Blocks until the disk has it: call it in a thread. Returns whether it was written."""
        now_s = self._clock()
        readings, lines = self._new_lines(now_s)
        try:
            if lines:
                _append(self._path(now_s), lines, self.pending)
            self._written, self._since_s = readings, now_s
            if self.pending is not None:
                self.pending.write_left()
        except OSError as error:
            self.num_failures += 1
            logger.error("usage could not be written, and is kept for the next time", extra={"reason": str(error)})
            return False
        return True

    def note(self) -> None:
        """Note what is new for the other workers. Where there is no room, a worker that is killed loses it."""
        now_s = self._clock()
        _, lines = self._new_lines(now_s)
        if self.pending is not None and lines:
            try:
                self.pending.note(self._path(now_s), _data_of(lines))
                self._is_noted = True
            except OSError as error:
                if self._is_noted:  # else it is known already
                    logger.warning("usage could not be noted for other workers", extra={"reason": str(error)})
                self._is_noted = False

    def _new_lines(self, now_s: float) -> tuple[dict[tuple[str, str], Usage], list[dict[str, Any]]]:
        """The counts now, and lines of what has been added since the last writing."""
        readings = {(key, model): usage for key, model, usage in self._ledger.readings()}
        lines = [
            self._line(key, model, usage.minus(self._written.get((key, model), Usage())), now_s)
            for (key, model), usage in readings.items()
            if usage != self._written.get((key, model), Usage())
        ]
        return readings, lines

    def _path(self, now_s: float) -> Path:
        return self._folder / f"usage-{_time(now_s)[:10]}.{self._host}{self._worker}.jsonl"

    def seconds_until_due(self, every_s: float) -> float:
        """How long until the next writing: after the interval, and before an hour ends."""
        now_s = self._clock()
        return min(every_s, max(0.05, 3600.0 - now_s % 3600.0 - 0.05))

    def _line(self, key: str, model: str, usage: Usage, now_s: float) -> dict[str, Any]:
        counts = usage._asdict() | {"compute_s": round(usage.compute_s, 6)}
        begun = _time(self._since_s)
        return {"from": begun, "to": _time(now_s), "host": self._host, "key": key, "model": model, **counts}


def _data_of(lines: Sequence[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(line, separators=(",", ":")).encode("ascii") + b"\n" for line in lines)


def _append(path: Path, lines: Sequence[dict[str, Any]], pending: PendingUsage | None) -> None:
    """Append all lines or none. Raises OSError."""
    data = _data_of(lines)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, _FILE_MODE)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":  # the end of a line that a crash cut off
            data = b"\n" + data
        if pending is not None:
            pending.note(path, data, size)
        try:
            written = os.write(descriptor, data)
            if written < len(data):
                raise OSError(f"{path}: only {written} of {len(data)} bytes could be written")
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, size)
            raise
    finally:
        os.close(descriptor)
    if pending is not None:
        pending.clear()


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
