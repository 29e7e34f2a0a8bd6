"""A file scored in a terminal: a bar with rate and time left, and a summary at the end."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

from service.cli.plain_errors import fail
from service.cli.scoring.score_arguments import FileArguments
from service.errors import InvalidInput
from service.inference.runtime.ort_runner import default_lanes
from service.inference.runtime.precision import WantedPrecision
from service.offline import Scorer
from service.offline.answer_columns import CONLLU
from service.offline.job.run import FileJob, Progress, Summary, score_file
from service.offline.reading.options import ReadOptions

#: Labels, and kinds of errors, that a summary shows.
_SHOWN = 10
_INTERRUPTED = 130


@dataclass(frozen=True)
class FileScoring:
    """The options of `unroll score`, see there."""

    given: FileArguments
    parameters: Mapping[str, Any]
    text_column: str | None
    keep: tuple[str, ...] | None
    output_columns: tuple[str, ...] | None
    prefix: str
    encoding: str | None
    separator: str | None
    has_header: bool
    num_workers: int | None
    precision: str
    device: str
    compression: str | None
    is_sharded: bool
    overwrites: bool
    restarts: bool
    part_rows: int | None
    models: Path

    def run(self, as_json: bool) -> None:
        """Score the file and print the summary: on stderr, or as JSON on stdout. Raises UnrollError."""
        started_s = time.monotonic()
        job = self._job()
        try:
            with _bar(job.source.name) as on_progress:
                summary = score_file(job, on_progress)
        except KeyboardInterrupt:
            print("unroll: stopped; repeat the command to continue", file=sys.stderr)
            raise SystemExit(_INTERRUPTED) from None
        if as_json:
            print(json.dumps(_as_json(summary, job.out), ensure_ascii=False))
        else:
            print("\n".join(_told(summary, job.out, time.monotonic() - started_s)), file=sys.stderr)
        if summary.counts.rows and summary.counts.num_errors == summary.counts.rows:
            fail("no row has an answer: the column `error` says why")

    def _job(self) -> FileJob:
        if self.precision not in get_args(WantedPrecision):
            raise InvalidInput(f"there is no precision {self.precision!r}; there are: fp32, bf16, int8, auto")
        is_conllu = self._writes_conllu()
        scorer = Scorer(
            self.given.model,
            text_column=self.text_column,
            parameters=self.parameters,
            output_columns=(CONLLU,) if is_conllu else self.output_columns,
            prefix=self.prefix,
            device=self.device,
            precision=cast(WantedPrecision, self.precision),
            models=self.models,
        )
        separator = {"\\t": "\t", "tab": "\t"}.get(self.separator or "", self.separator)
        if separator is not None and len(separator) != 1:
            raise InvalidInput(f"a separator is one character, such as ';' or tab, not {separator!r}")
        keep = () if is_conllu else self.keep
        read = ReadOptions(scorer.kind, self.text_column, keep, self.encoding, separator, self.has_header)
        return FileJob(
            scorer,
            self.given.source,
            self.given.out,
            read,
            self.num_workers or default_lanes(self.device),
            self.compression,
            self.is_sharded,
            self.overwrites,
            self.restarts,
            self.part_rows,
        )

    def _writes_conllu(self) -> bool:
        """Whether sentences are written, and nothing else. Raises InvalidInput where columns are asked for as well."""
        if not self.given.out.name.lower().removesuffix(".gz").endswith(".conllu"):
            return False
        if self.output_columns or self.keep or self.prefix:
            raise InvalidInput(
                "a .conllu file has the columns of CoNLL-U: choose none, or write .csv, .jsonl, .parquet"
            )
        return True


@contextmanager
def _bar(name: str) -> Iterator[Callable[[Progress], None]]:
    """A bar on stderr where that is a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[told]}"))
    with Bar(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=None, told="")
        yield lambda progress: bar.update(
            task, total=progress.size, completed=progress.position, told=told_progress(progress)
        )


def told_progress(progress: Progress) -> str:
    """Rows, rows a second, and the time left at the rate of this run."""
    left_s = progress.seconds_left
    left = "" if left_s is None else f", {int(left_s) // 3600}:{int(left_s) // 60 % 60:02}:{int(left_s) % 60:02} left"
    return f"{progress.rows:,} rows, {progress.rows_per_s:,.0f} a second{left}"


def _told(summary: Summary, out: Path, seconds: float) -> Iterator[str]:
    counts, progress = summary.counts, summary.progress
    if summary.was_finished:
        yield f"an earlier run had written {out} already"
    elif progress.rows_before:
        yield f"continued after {progress.rows_before:,} rows of an earlier run"
    fresh = progress.rows - progress.rows_before
    yield f"{counts.rows:,} rows -> {out} ({seconds:,.1f} s, {fresh / max(seconds, 1e-9):,.0f} rows a second)"
    if counts.num_errors:
        yield f"{counts.num_errors:,} rows have no answer; the column `error` says why:"
        yield from (f"  {number:>9,}  {kind}" for kind, number in counts.errors.most_common(_SHOWN))
    if counts.labels:
        yield "labels:"
        yield from (f"  {number:>9,}  {label}" for label, number in counts.labels.most_common(_SHOWN))
        if len(counts.labels) > _SHOWN:
            yield f"  and {len(counts.labels) - _SHOWN} more"


def _as_json(summary: Summary, out: Path) -> dict[str, Any]:
    counts, progress = summary.counts, summary.progress
    return {
        "out": str(out),
        "rows": counts.rows,
        "rows_before": progress.rows_before,
        "rows_per_s": round(progress.rows_per_s, 1),
        "errors": dict(counts.errors.most_common()),
        "labels": dict(counts.labels.most_common()),
    }
