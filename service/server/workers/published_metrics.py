"""The metrics of each worker in a file of the group's folder, and those of workers that have ended in another.

A scrape shows nothing that is not in a file, so that what was once shown stays when a worker is killed.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from prometheus_client.registry import Collector
from pydantic_core import from_json, to_json

from service.observability.process import proportional_memory_bytes
from service.observability.scrape.merged_metrics import MergedMetrics, Snapshot, lasting, snapshot_of, with_value

logger = logging.getLogger(__name__)

#: Pages that workers share are counted once in the sum over all, as each has its part of them.
_MEMORY = "process_resident_memory_bytes"
#: A reader that was stopped must not hold up the supervisor for longer.
_MAX_WAIT_S = 2.0
_TRY_EVERY_S = 0.002
_LOCK, _ENDED = "metrics.lock", "metrics-ended-"
_RESTARTS = ("unroll_worker_restarts", "counter", "Number of workers that ended and were replaced.")


class MetricsFile:
    """The metrics of one worker, in its file."""

    def __init__(self, folder: Path, index: int, registry: Collector) -> None:
        self._path = _path(folder, index)
        self._registry = registry
        self._memory_bytes: int | None = None
        self._is_late = False
        self._lock = threading.Lock()  # an older reading must not replace a newer one

    def publish(self, *, weighs: bool = True) -> None:
        """Write the values at this moment, in any thread. `weighs`: look at the memory anew, which takes ms.

        Where the folder has no room, the values that were written before stay, and the log says so.
        """
        with self._lock:
            if weighs:
                self._memory_bytes = proportional_memory_bytes()
            try:
                _write(self._path, with_value(snapshot_of(self._registry), _MEMORY, self._memory_bytes))
            except OSError as error:
                if not self._is_late:
                    logger.error("metrics stay as they were: they cannot be written", extra={"reason": str(error)})
                self._is_late = True
            else:
                self._is_late = False


def read_all(folder: Path, own: int) -> MergedMetrics:
    """What all workers have published, and those that have ended; `own` is the worker that is asked."""
    with _locked(folder, fcntl.LOCK_SH):
        paths = sorted(folder.glob("metrics-*.json"), key=lambda path: (path != _path(folder, own), path))
        read = [(path, path.read_bytes()) for path in paths]
    return MergedMetrics([lasting(_parsed(data)) if _is_of_ended(path) else _parsed(data) for path, data in read])


def keep_of_ended(folder: Path, index: int) -> None:
    """Add the counters of a worker that has ended to those of the others that have, and count its restart.

    Raises OSError where the folder has no room. Its file is kept then, and is added after the next one has ended.
    """
    restart = Snapshot([(*_RESTARTS, [[f"{_RESTARTS[0]}_total", {}, 1.0, None]])], [])
    with _locked(folder, fcntl.LOCK_EX):
        with suppress(FileNotFoundError):  # it had not got as far as to measure anything
            _path(folder, index).rename(folder / f"{_ENDED}{time.monotonic_ns()}.json")
        ended = [path for path in folder.glob("metrics-*.json") if _is_of_ended(path)]
        kept = MergedMetrics([restart, *(lasting(_parsed(path.read_bytes())) for path in ended)])
        _write(folder / f"{_ENDED}all.json", kept.snapshot())
        for path in ended:
            if path.name != f"{_ENDED}all.json":
                path.unlink()


def _path(folder: Path, index: int) -> Path:
    return folder / f"metrics-{index}.json"


def _is_of_ended(path: Path) -> bool:
    return path.name.startswith(_ENDED)


def _write(path: Path, snapshot: Snapshot) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_bytes(to_json(snapshot, inf_nan_mode="constants"))
    temporary.replace(path)


def _parsed(data: bytes) -> Snapshot:
    return Snapshot(*from_json(data))


@contextmanager
def _locked(folder: Path, kind: int) -> Iterator[None]:
    """Held while files are read or changed together; it takes milliseconds."""
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        until_s = time.monotonic() + _MAX_WAIT_S
        while not _is_locked(descriptor, kind) and time.monotonic() < until_s:
            time.sleep(_TRY_EVERY_S)
        yield
    finally:
        os.close(descriptor)


def _is_locked(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
