"""Progress and result of a soak on the console."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table

from tests.load.soak.run import Progress, Tell
from tests.load.soak.verdict import Soaked

_SAY_EVERY_S = 30.0


@contextmanager
def progress_shown(console: Console) -> Iterator[Tell]:
    """A bar on a terminal; elsewhere, such as in CI, a line now and then."""
    columns = (TextColumn("soak"), BarColumn(), TextColumn("{task.fields[status]}"), TimeRemainingColumn())
    said_s = 0.0
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=1.0, status="")

        def tell(progress: Progress) -> None:
            nonlocal said_s
            bar.update(task, completed=progress.share, status=_status(progress))
            if not console.is_terminal and progress.elapsed_s - said_s >= _SAY_EVERY_S:
                said_s = progress.elapsed_s
                console.print(f"{said_s:>6,.0f} s  {_status(progress)}", highlight=False)

        yield tell


def _status(progress: Progress) -> str:
    return f"{progress.num_requests:,} requests, {progress.num_faults:,} faults, {progress.resident_mb:,.0f} MB"


def show(console: Console, soaked: Soaked) -> None:
    """What was asked, what it must show and whether it does, and the first faults of each sort."""
    console.print(_asked(soaked))
    console.print(_conditions(soaked))
    for sort, sentences in soaked.findings.shown.items():
        for sentence in sentences:
            console.print(f"{sort}: {sentence}", highlight=False, markup=False, soft_wrap=True)
    for line in soaked.log.shown:
        console.print(f"log: {line}", highlight=False, markup=False, soft_wrap=True)


def _asked(soaked: Soaked) -> Table:
    table = Table("kind", title=f"{soaked.findings.num_requests:,} requests in {soaked.seconds / 60:,.1f} minutes")
    table.add_column("requests", justify="right")
    for kind in soaked.wanted_kinds:
        table.add_row(kind, f"{soaked.findings.requests[kind]:,}")
    return table


def _conditions(soaked: Soaked) -> Table:
    table = Table("condition", "found", "allowed", "")
    for each in soaked.conditions():
        verdict = "[green]holds[/]" if each.holds else "[bold red]FAILS[/]"
        table.add_row(each.what, each.found, each.allowed, verdict)
    return table
