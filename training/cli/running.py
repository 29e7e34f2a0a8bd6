"""What the commands `train`, `resume` and `export` share: places, locks, training and publishing."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.errors import UnrollError
from training.cli.options import console, say
from training.fit.places import check_room, check_writable
from training.fit.run_lock import check_free, locked_run

if TYPE_CHECKING:
    import torch

    from training.cli.recipe import Chosen
    from training.config.recipe import Recipe
    from training.fit.distributed import Workers
    from training.pipeline.run import Prepared, Run

PublishIfBetter = Annotated[
    bool,
    typer.Option("--publish-if-better", help="Publish only if the dev score beats the baseline; else exit with 1."),
]
ExamplesFile = Annotated[
    Path | None,
    typer.Option(
        "--examples",
        help="Text file, one input a line: the examples of the bundle, which anybody who has it can read. Without it "
        "they are invented, so that no record of your data is given away.",
    ),
]
ExamplesFromDev = Annotated[
    bool, typer.Option("--examples-from-dev", help="Take the examples of the bundle from the dev records, verbatim.")
]


@dataclass(frozen=True)
class Publication:
    """Where a bundle goes, None for nowhere, and whether only if it beats its baseline."""

    models: Path | None = None
    only_if_better: bool = False

    def check(self, run_folder: Path) -> None:
        """Raises an UnrollError where a folder cannot be written to or is in use: before training, not after it."""
        check_writable(run_folder, "--runs")
        if self.models is not None:
            check_writable(self.models, "--models")
        check_free(run_folder)


def example_settings(file: Path | None, from_dev: bool) -> list[str]:
    """The options about examples as settings of a recipe. Raises UnrollError for a file without a line."""
    settings = ["examples_from_dev=true"] if from_dev else []
    if file is None:
        return settings
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise UnrollError(f"--examples {file}: not a text file in UTF-8: {error}") from error
    if not lines:
        raise UnrollError(f"--examples {file}: it holds no line; write one input a line")
    return [*settings, f"examples={json.dumps(lines, ensure_ascii=False)}"]


class Attempt:
    """What was computed, or the error that it ended with, which is raised when it is asked for.

    The first error of a process that is alone is raised at once, before PyTorch is imported; of several processes, all
    come together first, so that all hear of it.
    """

    def __init__(self, compute: Callable[[], Chosen]) -> None:
        self._error: UnrollError | None = None
        try:
            self._found: Chosen = compute()
        except UnrollError as error:
            if os.environ.get("WORLD_SIZE", "1") == "1":
                raise
            self._error = error

    def outcome(self) -> Chosen:
        """What was computed. Raises the error instead, if there was one."""
        if self._error is not None:
            raise self._error
        return self._found


@dataclass(frozen=True)
class Beginning:
    """How `train` begins: anew, or from the checkpoint of the run that the folder holds."""

    recipe: Recipe
    runs: Path
    places: Publication
    overwrite: bool
    resume: bool

    @property
    def path(self) -> Path:
        """The run folder: a model that learns further keeps the folder of its first run."""
        start = self.recipe.start.model
        return self.runs / (f"{self.recipe.name}-from-{Path(start).name}" if start else self.recipe.name)

    def check_nodes(self, workers: Workers) -> None:
        """Raises StoppedTogether where the checkpoint to go on from is on another node than the first."""
        from training.pipeline.shared_run import check_checkpoint_at_first, was_restarted

        if workers.count > 1 and any(workers.gather(self.resume or was_restarted(self.path))):
            check_checkpoint_at_first(self.path, workers)

    def run(self, prepare: Callable[[], Prepared], held: ExitStack) -> Run:
        """The run, whose lock `held` keeps; the data are read once the folder is known to be free for it."""
        from training.fit.run_folder import RunFolder
        from training.pipeline.shared_run import was_restarted

        self.places.check(self.path)
        if self.resume or was_restarted(self.path):
            found = _continued(self.recipe, self.path, self.places, held)
            if found is not None:
                return found
        RunFolder(self.path).check_new(self.overwrite)
        return self._anew(with_remark(prepare()), held)

    def _anew(self, prepared: Prepared, held: ExitStack) -> Run:
        from training.pipeline.room import room_of_bundle
        from training.pipeline.run import start_run
        from training.pipeline.shared_run import note_launch

        held.enter_context(locked_run(self.path))
        run = start_run(prepared, self.path, self.overwrite)
        note_launch(run.folder)
        if self.places.models is not None:
            check_room(self.places.models, room_of_bundle(run.network), "--models")
        return run


def train_choice(choice: Attempt, device: str, begin: Callable[[Recipe], Beginning]) -> None:
    """Train the recipe that was chosen, by all workers, and publish it."""
    from training.fit.distributed import joined_workers
    from training.pipeline.run import choose_device, prepare_run
    from training.pipeline.shared_run import shared_run

    chosen_device = choose_device(device)
    with joined_workers(chosen_device) as workers, ExitStack() as held:
        chosen, records = workers.together(choice.outcome)
        workers.check_batch_size(chosen.training.batch_size)
        beginning = begin(chosen)
        prepare = partial(prepare_run, chosen, train=records)
        beginning.check_nodes(workers)
        run = shared_run(lambda: beginning.run(prepare, held), beginning.path, workers, chosen, records)
        resuming = run.folder.checkpoint.exists()
        train_and_publish(run, chosen_device, workers, beginning.places, resuming=resuming)


def reopened(path: Path, places: Publication, held: ExitStack) -> Run:
    """The run in `path`, whose lock `held` keeps, with a checkpoint that can be read.

    Raises:
        typer.Exit: it is finished and published, and nothing is left to do.
    """
    from training.fit.checkpoint import read_progress
    from training.fit.run_folder import RunFolder
    from training.pipeline.run import open_run, published_before

    places.check(path)
    held.enter_context(locked_run(path))
    folder = RunFolder(path)
    if remark := folder.recover():
        say(remark)
    if read_progress(folder.checkpoint).finished:
        before = published_before(folder, places.models) if places.models is not None else None
        if places.models is None or before is not None:
            done = f", and published as {before}" if before else ""
            say(f"{path} is finished{done}; `unroll export {path}` publishes it as a new version")
            raise typer.Exit
    return open_run(path)


def _continued(recipe: Recipe, path: Path, places: Publication, held: ExitStack) -> Run | None:
    """The run of this recipe that `path` holds, None where it holds none that has a checkpoint.

    Raises:
        UnrollError: it holds a run of another recipe.
        typer.Exit: see `reopened`.
    """
    from training.config.comparison import differences
    from training.fit.checkpoint import previous_of
    from training.fit.run_folder import RunFolder

    folder = RunFolder(path)
    if not folder.checkpoint.exists() and not previous_of(folder.checkpoint).exists():
        return None
    differing = differences(recipe, folder.recipe(), ("now", f"in {path}"))
    if differing:
        raise UnrollError(
            f"{path} holds a run of another recipe: {', '.join(differing)}; take another --name, or --overwrite"
        )
    say(f"{path} goes on from its last checkpoint")
    return reopened(path, places, held)


def with_remark(prepared: Prepared) -> Prepared:
    """Print the remarks about the data, if any, to stderr."""
    if prepared.data.remark:
        say(prepared.data.remark)
    return prepared


def train_and_publish(
    run: Run, device: torch.device, workers: Workers, places: Publication | None = None, *, resuming: bool = False
) -> None:
    """Train to the end; the first worker then publishes the bundle, and the others wait for it."""
    from training.pipeline.run import describe, train_run

    if workers.is_first:
        say(describe(run, device) + _shared_by(workers))
    progress = train_run(run, device, resuming, workers)

    def finish() -> None:
        say(f"best epoch {progress.best_epoch} after {progress.seconds / 60:.1f} minutes; run: {run.folder.path}")
        if places is not None and places.models is not None:
            publish(run, places.models, only_if_better=places.only_if_better)

    workers.from_first(finish)


def _shared_by(workers: Workers) -> str:
    """How many processes and nodes share the run, for its first line."""
    nodes = len({place.node for place in workers.places})
    return f", by {workers.count} workers" * (workers.count > 1) + f" on {nodes} nodes" * (nodes > 1)


def publish(run: Run, models: Path, half: bool = True, *, only_if_better: bool = False) -> Path:
    """Publish the best weights as a new version.

    Raises:
        typer.Exit: with status 1, if only a better one was wanted and it does not beat its baseline.
    """
    from training.pipeline.run import publish_run, sources_of_start
    from training.pipeline.verdict import NotPublished
    from training.preprocessing.load_records import may_ship

    say("writing graphs, verifying, scoring dev with onnxruntime ...")
    try:
        exported = publish_run(run, models, say, half, only_if_better=only_if_better)
    except NotPublished as refused:
        say(str(refused))
        raise typer.Exit(1) from refused
    if exported.path.name != run.recipe.version:
        say(f"{exported.path.with_name(run.recipe.version)} was published before and stays: this is a new version")
    if not may_ship(run.recipe, sources_of_start(run)):
        console.print("[yellow]note:[/] the licence of the data is unclear: do not redistribute the bundle")
    typer.echo(f"published {exported.path}  (largest parity difference {exported.report.max_difference:.1e})")
    return exported.path
