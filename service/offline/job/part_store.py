"""The parts of one output on disk: a lock, what they are parts of, and each part written whole or not at all.

out.parquet.parts/
    lock                    held (`flock`) by the one process that writes this output
    job.json                input, model and options: parts of other ones are never mixed
    part-00000000.json      counts of the first part
    part-00000000.parquet   the first part; it is renamed into place after its counts, when its bytes are on disk
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from service.errors import UnrollError
from service.offline.job.part_counts import PartCounts

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_JOB, _LOCK = "job.json", "lock"
#: What this folder may hold; any other file is somebody else's, and the folder is removed at the end.
_OURS = ("part-????????.*", "*.tmp", _JOB, _LOCK, "done.json")


class OutputBusy(UnrollError):
    """Another process writes this output."""


class OtherJob(UnrollError):
    """The parts that are there are of another input or model, or made with other options."""


class ForeignFolder(UnrollError):
    """Where the parts should be is something else."""


class PartStore:
    """The parts in a folder. Workers commit parts; one process, which holds the lock, does all else."""

    def __init__(self, folder: Path, suffix: str) -> None:
        self.folder = folder
        self._suffix = suffix

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder, which is created. Raises OutputBusy, ForeignFolder."""
        self._require_own()
        self.folder.mkdir(exist_ok=True)
        descriptor = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            if fcntl is not None:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError as error:
            raise OutputBusy(f"{self.folder}: another process is writing this output: wait for it") from error
        finally:
            os.close(descriptor)

    def _require_own(self) -> None:
        if self.folder.exists() and not self.folder.is_dir():
            raise ForeignFolder(f"{self.folder} is a file, where the parts of the output should be: rename it")
        others = [path.name for path in self.folder.glob("*") if not any(map(path.match, _OURS))]
        if others:
            raise ForeignFolder(f"{self.folder} is for the parts of the output, but holds {others[0]!r}: rename it")

    def begin(self, job: Mapping[str, Any], restart: bool) -> set[int]:
        """Begin a job, or continue it; returns the numbers of the parts that are there.

        Raises:
            OtherJob: the parts are those of another job; says what differs.
        """
        before = self._job()
        if before is not None and not restart:
            changed = [name for name in job if before.get(name) != job[name]]
            if changed:
                raise OtherJob(_changed(self.folder, before, job, changed))
        elif before is not None:
            self._clear()
        for stale in self.folder.glob("*.tmp"):
            if stale.is_file():
                stale.unlink()
        if before is None or restart:
            self._write(self.folder / _JOB, json.dumps(dict(job), indent=2, ensure_ascii=False))
        return {int(path.name[5:13]) for path in self.folder.glob(f"part-????????{self._suffix}")}

    def is_of(self, job: Mapping[str, Any]) -> bool:
        """Whether the parts that are there, if any, are those of this job."""
        return bool(self._job() == json.loads(json.dumps(job)))

    def part(self, number: int) -> Path:
        """The file of a part."""
        return self.folder / f"part-{number:08}{self._suffix}"

    def counts(self, number: int) -> PartCounts:
        """The counts of a part that is there."""
        return PartCounts.from_json(self._counts(number).read_text(encoding="utf-8"))

    def commit(self, number: int, write: Callable[[Path], None], counts: PartCounts) -> None:
        """Write a part, with its counts before it. Any process may; the last of two that write the same one wins."""
        self._write(self._counts(number), counts.to_json())
        path = self.part(number)
        temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        write(temporary)
        move_durably(temporary, path)

    def remove(self) -> None:
        """Remove the folder with all parts; what tells a run that it is finished goes last."""
        for path in self.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name not in (_JOB, "done.json"):
                path.unlink()
        shutil.rmtree(self.folder)

    def _counts(self, number: int) -> Path:
        return self.folder / f"part-{number:08}.json"

    def _job(self) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = json.loads((self.folder / _JOB).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise OtherJob(f"{self.folder / _JOB} cannot be read: --restart begins anew ({error})") from error
        return found

    def _clear(self) -> None:
        (self.folder / _JOB).unlink()  # first: without it the parts are nobody's
        for path in self.folder.glob("part-*"):
            path.unlink()

    def _write(self, path: Path, text: str) -> None:
        temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        temporary.write_text(text, encoding="utf-8")
        move_durably(temporary, path)


def move_durably(temporary: Path, path: Path) -> None:
    """Rename a file into place when its bytes are on disk, so that a power cut leaves the old one or the new one."""
    _sync(temporary)
    temporary.replace(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _changed(folder: Path, before: Mapping[str, Any], job: Mapping[str, Any], names: list[str]) -> str:
    told = "; ".join(f"{name}: {_short(before.get(name))} before, {_short(job[name])} now" for name in names)
    return f"{folder} has parts of another run ({told}): repeat that one to continue it, or begin anew with --restart"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
