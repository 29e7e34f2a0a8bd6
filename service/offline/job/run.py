"""Score a file: windows in, parts out, joined into one file or a folder of shards."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from service.errors import UnrollError
from service.offline.job.fingerprint import input_fingerprint, time_stamps
from service.offline.job.part_counts import PartCounts
from service.offline.job.part_store import PartStore, move_durably
from service.offline.job.part_workers import PartWorker, write_parts
from service.offline.reading.open_source import open_source
from service.offline.reading.options import ReadOptions
from service.offline.reading.source import WINDOW_ROWS, Source, Window
from service.offline.reading.text_lines import UnreadableInput
from service.offline.scorer import Scorer
from service.offline.writing.output_plan import OutputPlan, RefusedOutput, output_plan
from service.offline.writing.part_files import join_parts, write_header

#: Rows of a part for tasks that write texts token by token: a part then takes seconds, as those of other tasks do.
_STEPWISE_ROWS = 256
_STEPWISE = frozenset({"translation", "captioning", "video", "generation"})
_DONE = "done.json"


@dataclass(frozen=True)
class FileJob:
    """A file to score.

    Attributes:
        is_sharded: the output is a folder of the parts, not one file.
        overwrites: an output that is there may be replaced, once the new one is whole.
        restarts: parts of an earlier run are thrown away.
        part_rows: rows of a part; None for what suits the task.
    """

    scorer: Scorer
    source: Path
    out: Path
    read: ReadOptions
    num_workers: int = 1
    compression: str | None = None
    is_sharded: bool = False
    overwrites: bool = False
    restarts: bool = False
    part_rows: int | None = None

    @property
    def rows(self) -> int:
        """Rows of a part."""
        return self.part_rows or (_STEPWISE_ROWS if self.scorer.manifest.task in _STEPWISE else WINDOW_ROWS)


@dataclass
class Progress:
    """How far a job is. Positions are out of `size`; `before` is what an earlier run had done."""

    size: int
    position: int = 0
    rows: int = 0
    before: int = 0
    rows_before: int = 0
    started_s: float = field(default_factory=time.monotonic)

    @property
    def rows_per_s(self) -> float:
        """Rows of this run a second."""
        return (self.rows - self.rows_before) / max(1e-9, time.monotonic() - self.started_s)

    @property
    def seconds_left(self) -> float | None:
        """At the pace of this run; None before its first part."""
        done = self.position - self.before
        return (self.size - self.position) * (time.monotonic() - self.started_s) / done if done > 0 else None


@dataclass(frozen=True)
class Summary:
    """What a finished job has done. `was_finished`: an earlier run had, and only its traces were removed."""

    counts: PartCounts
    progress: Progress
    was_finished: bool = False


OnProgress = Callable[[Progress], None]


def score_file(job: FileJob, on_progress: OnProgress = lambda _: None) -> Summary:
    """Score a whole file, or continue where an earlier run was stopped.

    Raises:
        UnreadableInput, MissingColumn: the input cannot be read, or lacks a column.
        RefusedOutput: the output is there already, or cannot be written as asked.
        OutputBusy: another process writes the same output.
        ForeignFolder: the folder of the parts holds something else.
        OtherJob: the parts of an earlier run are of another input or model, or made with other options.
        UnrollError: a file cannot be read or written, such as for lack of space; the parts stay.
        BundleError, InvalidInput: the model cannot be used, or refuses the parameters.
    """
    job = replace(job, out=_place(job.out))
    _require_other(job.out, [job.source])
    if not (_parts_of(job.out) / _DONE).exists():
        _require_free(job)  # before a large file is read
    run = _Run(job)
    _require_other(job.out, run.files)
    try:
        finished = None if job.restarts else run.finished_before()
        if finished is not None:
            return finished
        _require_free(job)
        return run.finish(on_progress)
    except OSError as error:  # of a worker it comes without the name of a file
        problem = f"{error.filename or job.out}: {error.strerror or error}"
        raise UnrollError(f"{problem}; repeat the command to continue") from error


class _Run:
    """One run of a job, from its first window to the output."""

    def __init__(self, job: FileJob) -> None:
        self._job = job
        self._source: Source = open_source(job.source, job.read)
        self._stamps = time_stamps(self.files)
        scorer = job.scorer
        types = [*(column.type for column in scorer.columns), "text"]
        names = scorer.names(list(self._source.kept))
        self._plan: OutputPlan = output_plan(job.out, self._source, names, types, job.compression)
        self._store = PartStore(_parts_of(job.out), self._plan.suffix)

    @property
    def files(self) -> Sequence[Path]:
        """What is read."""
        return self._source.files

    def finished_before(self) -> Summary | None:
        """The end of a run that was stopped after its output was in place, if this is the same: removes its folder."""
        store = self._store
        try:
            note = json.loads((store.folder / _DONE).read_text(encoding="utf-8"))
            is_there = self._job.out.stat().st_ino == note["inode"]
        except (OSError, ValueError):
            return None
        if not is_there:
            return None
        is_same = store.is_of(self._described())
        store.remove()
        counts = PartCounts.from_json(note["counts"])
        return Summary(counts, Progress(1, 1, counts.rows, 1, counts.rows), was_finished=True) if is_same else None

    def finish(self, on_progress: OnProgress) -> Summary:
        job = self._job
        with self._store.locked():
            there = self._store.begin(self._described(), job.restarts)
            counts, progress = self._score(there, on_progress)
            if time_stamps(self.files) != self._stamps:
                raise UnreadableInput(f"{job.source} was changed while it was read: --restart scores it anew")
            self._join(counts)
            self._store.remove()
        return Summary(counts, progress)

    def _score(self, there: set[int], on_progress: OnProgress) -> tuple[PartCounts, Progress]:
        total, progress = PartCounts(), Progress(self._source.size)
        sizes: dict[int, int] = {}
        windows = self._missing(there, total, progress, sizes)
        worker = PartWorker(self._job.scorer, self._plan, self._store)
        self._num_parts = 0
        for written in write_parts(windows, worker, self._job.num_workers):
            total.add(written.counts)
            progress.rows += written.counts.rows
            progress.position += sizes.pop(written.number)
            on_progress(progress)
        return total, progress

    def _missing(
        self, there: set[int], total: PartCounts, progress: Progress, sizes: dict[int, int]
    ) -> Iterator[Window]:
        """The windows that are no parts yet; those that are count as done. `sizes` gets how much each takes."""
        position = 0
        for window in self._source.windows(self._job.rows):
            self._num_parts = window.number + 1
            size, position = window.position - position, window.position
            if window.number not in there:
                sizes[window.number] = size
                yield window
                continue
            total.add(self._store.counts(window.number))
            progress.position, progress.before = progress.position + size, progress.before + size
            progress.rows += len(window.values)
            progress.rows_before += len(window.values)

    def _join(self, counts: PartCounts) -> None:
        """The parts as the output, renamed into place; a note serves a run that is stopped before it cleans up."""
        job, store = self._job, self._store
        parts = [store.part(number) for number in range(self._num_parts)]
        joined = store.folder / f"joined{self._plan.suffix}.tmp"
        if job.is_sharded:
            _remove(joined)
            self._write_shards(joined, parts)
        else:
            join_parts(joined, self._plan, parts)
        note = {"inode": joined.stat().st_ino, "counts": counts.to_json()}
        (store.folder / _DONE).write_text(json.dumps(note), encoding="utf-8")
        if job.is_sharded or job.out.is_dir():
            _replace_folder(joined, job.out, store.folder / "replaced.tmp")
        else:
            move_durably(joined, job.out)

    def _write_shards(self, folder: Path, parts: list[Path]) -> None:
        folder.mkdir()
        for part in parts:
            shard = folder / part.name
            if self._plan.form in ("csv", "tsv"):
                join_parts(shard, self._plan, [part])
            else:
                os.link(part, shard)
        if not parts and self._plan.form in ("csv", "tsv"):
            write_header(folder / f"part-{0:08}{self._plan.suffix}", self._plan)

    def _described(self) -> dict[str, Any]:
        """What the parts are of: another value of any of these would give other rows."""
        job, read, plan = self._job, self._job.read, self._plan
        manifest = job.scorer.manifest
        columns = {"keep": list(plan.kept), "names": list(plan.names), "text column": read.text_column}
        reading = {"encoding": read.encoding, "separator": read.separator, "header": read.has_header}
        return {
            "input": {"path": str(job.source.absolute()), **input_fingerprint(job.source, self.files)},
            "model": {"name": manifest.name, "version": manifest.version, **job.scorer.identity},
            "columns": columns,
            "reading": reading,
            "parameters": job.scorer.parameters,
            "output": {"suffix": plan.suffix, "compression": plan.compression, "rows of a part": job.rows},
        }


def _parts_of(out: Path) -> Path:
    return out.with_name(f"{out.name}.parts")


def _place(out: Path) -> Path:
    """Where a link leads, so that the file is replaced and the link stays. Raises RefusedOutput: there is no folder."""
    found = out.resolve()
    if not found.parent.is_dir():
        raise RefusedOutput(f"{out}: there is no folder {found.parent}")
    return found


def _require_other(out: Path, read: Sequence[Path]) -> None:
    """Raises RefusedOutput where the output would replace the input."""
    if out.exists() and any(file.exists() and out.samefile(file) for file in read):
        raise RefusedOutput(f"{out}: this is what is read")


def _require_free(job: FileJob) -> None:
    if job.out.exists() and not job.overwrites:
        raise RefusedOutput(f"{job.out} is there already: --force replaces it, once the new one is whole")
    if job.out.is_dir() and any(job.out.iterdir()) and not any(job.out.glob("part-*")):
        raise RefusedOutput(f"{job.out}: this folder holds no parts of an output, and is not replaced")


def _replace_folder(new: Path, out: Path, aside: Path) -> None:
    if out.exists():
        _remove(aside)
        out.rename(aside)
    new.rename(out)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
