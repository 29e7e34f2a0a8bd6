"""Pending usage: what a worker has counted and not written yet, noted where it outlives the worker.

Each worker has a note in the folder of its group. Before it appends to the log of usage, the note says where and what,
so that whoever finds the note of a worker that was killed can tell whether it was written, and writes it once.
"""

from __future__ import annotations

import json
import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from service.process_locks import ProcessLocks

logger = logging.getLogger(__name__)

_FILE_MODE = 0o640
#: Notes at once: one for each worker, also those that are being replaced.
_MAX_NOTES = 1024
_NOT_BEGUN = -1


class _Note(NamedTuple):
    """Lines for a file: `begun_at` is its size when they began to be written."""

    path: str
    begun_at: int
    lines: str


class PendingUsage:
    """The note of this worker, and those of workers that have ended."""

    def __init__(self, folder: Path) -> None:
        """Take a note in the folder of the group. Raises OSError."""
        self._folder = folder / "pending-usage"
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._locks = ProcessLocks(self._folder / "locks")
        number = next((number for number in range(_MAX_NOTES) if self._locks.lock_now(number)), None)
        if number is None:
            raise OSError(f"there are {_MAX_NOTES} notes of usage already")
        self._own = self._path(number)
        self._write_left(self._own)
        self.write_left()

    def note(self, path: Path, lines: bytes, begun_at: int = _NOT_BEGUN) -> None:
        """Note what is to be appended to a file; `begun_at`: its size, where that begins now. Raises OSError."""
        staged = self._own.with_suffix(".new")
        staged.write_text(json.dumps(_Note(os.fspath(path), begun_at, lines.decode("ascii"))), encoding="ascii")
        staged.replace(self._own)

    def clear(self) -> None:
        """Nothing is pending."""
        self._own.unlink(missing_ok=True)

    def write_left(self) -> None:
        """Write what workers that have ended left. Raises OSError."""
        for path in self._folder.glob("*.json"):
            number = int(path.stem)
            if path != self._own and self._locks.lock_now(number):
                try:
                    self._write_left(path)
                finally:
                    self._locks.unlock(number)

    def close(self) -> None:
        """Leave what is pending to the others."""
        self._locks.close()

    def _path(self, number: int) -> Path:
        return self._folder / f"{number}.json"

    def _write_left(self, path: Path) -> None:
        with suppress(FileNotFoundError):
            text = path.read_text(encoding="ascii", errors="replace")
            try:
                note = _Note(*json.loads(text))
                data = note.lines.encode("ascii")
            except (AttributeError, TypeError, ValueError):
                logger.error("a note of usage is damaged, and what it had is lost", extra={"note": text[:1000]})
            else:
                if _complete(note, data):
                    logger.info("usage that a worker left was written", extra={"file": note.path})
            path.unlink()


def _complete(note: _Note, data: bytes) -> bool:
    """Append the lines of a note unless they are there; whether they had to be. Raises OSError."""
    Path(note.path).parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(note.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, _FILE_MODE)
    with os.fdopen(descriptor, "r+b", buffering=0) as file:
        if note.begun_at != _NOT_BEGUN:
            file.seek(note.begun_at)
            since = file.read()
            if data in since:
                return False
            if data.startswith(since):  # cut off in the middle
                file.truncate(note.begun_at)
        file.write(data)
        os.fsync(descriptor)
    return True
