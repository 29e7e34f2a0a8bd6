"""Memory of the service: one process, each further worker, and each further bundle.

python -m tests.load.memory workers
python -m tests.load.memory bundles 10 110
"""

from __future__ import annotations

import signal
import sys
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import typer

from tests.load.memory.run import Memory, measure, measure_bundles
from tests.load.places import LOGS, ROOT

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
_LOG = LOGS / "memory.log"


@app.command()
def workers(
    counts: Annotated[list[int] | None, typer.Argument(min=1, help="Numbers of workers; default 1 2 3.")] = None,
    models: Annotated[Path, typer.Option(exists=True, help="Folder of models.")] = ROOT / "models",
    reload: Annotated[bool, typer.Option("--reload", help="Measure again after all bundles were loaded anew.")] = False,
) -> None:
    """The memory of the service with one worker and with more, when it is idle."""
    before: Memory | None = None
    for memory in measure(models, counts or [1, 2, 3], reload, _LOG):
        more = f", {_each(before, memory):.0f} MB for each further worker" if before else ""
        again = f"; {memory.reloaded_mb:.0f} MB after a reload of all bundles" if reload else ""
        print(f"{memory.workers} workers: {memory.total_mb:.0f} MB{more}{again}")
        print("  " + ", ".join(f"{name} {size:.0f}" for name, size in memory.parts_mb.items()), flush=True)
        before = memory


@app.command()
def bundles(
    numbers: Annotated[list[int] | None, typer.Argument(min=1, help="Numbers of tiny bundles; default 10 110.")] = None,
) -> None:
    """The memory of one process with few and with many tiny bundles."""
    found = list(measure_bundles(numbers or [10, 110], _LOG))
    for number, megabytes in found:
        print(f"{number} bundles: {megabytes:.1f} MB")
    for (few, less), (many, more) in pairwise(found):
        print(f"{(more - less) / (many - few) * 1000:.0f} KB for each bundle from {few} to {many}")


def _each(before: Memory, after: Memory) -> float:
    return (after.total_mb - before.total_mb) / (after.workers - before.workers)


if __name__ == "__main__":
    # Stops the server process on SIGTERM too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    app()
