"""Commands that tune a recipe: `find-lr` (learning-rate finder) and `search` (hyperparameter search)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from training.cli.options import (
    AsJson,
    ColumnOption,
    Device,
    FormatOption,
    Jobs,
    RunsFolder,
    friendly_errors,
    read_options,
    say,
)
from training.cli.recipe import DevFile, NameOption, RecipeArgument, SetOption, TrainFile, choose_recipe


def find_lr(
    recipe: RecipeArgument,
    train_file: TrainFile = "",
    dev_file: DevFile = "",
    name: NameOption = "",
    settings: SetOption = None,
    file_format: FormatOption = None,
    columns: ColumnOption = None,
    lowest: Annotated[float, typer.Option("--from", help="Learning rate of the first update.")] = 1e-6,
    highest: Annotated[float, typer.Option("--to", help="Learning rate of the last update.")] = 10.0,
    num_steps: Annotated[int, typer.Option("--steps", min=5, help="Number of updates.")] = 150,
    runs: RunsFolder = Path("runs"),
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Find a learning rate: raise it from update to update until the loss diverges (range test, Smith 2017).

    unroll find-lr pos-en

    Prints learning rates, losses and a suggestion, and plots them in runs/NAME-rates.png. The weights are discarded.
    """
    with friendly_errors():
        chosen, records = choose_recipe(
            recipe, name, train_file, dev_file, read_options(file_format, columns), settings
        )
        from training.pipeline.lr_finder import draw_range_test, find_rate
        from training.pipeline.run import choose_device, prepare_run

        found = find_rate(prepare_run(chosen, train=records), choose_device(device), lowest, highest, num_steps)
        picture = runs / f"{chosen.name}-rates.png"
        draw_range_test(found, picture)
        say(f"picture: {picture}")
        if as_json:
            points = [{"rate": point.rate, "loss": point.loss} for point in found.points]
            facts = {"suggestion": found.suggestion, "steepest": found.steepest, "lowest": found.lowest}
            typer.echo(json.dumps({**facts, "points": points}))
            return
        typer.echo(found.table())
        typer.echo(f"steepest at {found.steepest:.2g}, lowest at {found.lowest:.2g}")
        typer.echo(f"try --set training.learning_rate={found.suggestion:g}  (now {chosen.training.learning_rate:g})")


def search(
    recipe: RecipeArgument,
    vary: Annotated[
        list[str],
        typer.Option("--vary", help="key=low..high, key=low..high:log or key=a,b,c; repeatable."),
    ],
    trials: Annotated[int, typer.Option(min=1, help="Trials in total, including an interrupted search.")] = 20,
    train_file: TrainFile = "",
    dev_file: DevFile = "",
    name: NameOption = "",
    settings: SetOption = None,
    file_format: FormatOption = None,
    columns: ColumnOption = None,
    runs: RunsFolder = Path("runs"),
    device: Device = "auto",
    jobs: Jobs = 1,
    storage: Annotated[
        str,
        typer.Option(
            help="Study that processes and machines share: a file on a shared disk (SQLite if it ends in .db, else a "
            "journal), or a URL: postgresql://..., mysql://..., redis://...  [default: study.db in the folder]"
        ),
    ] = "",
) -> None:
    """Search for better hyperparameters by dev score with Optuna; unpromising trials are pruned.

    unroll search pos-en --trials 20 --vary training.learning_rate=1e-4..1e-2:log --vary network.hidden_size=128,256

    Writes the table of trials and best.toml, a recipe for `unroll train`, into runs/NAME-search. Repeat the command
    to resume an interrupted search.

    Several processes:  --jobs 4

    Several machines:   run the same command on each, with --storage /shared/study.journal

    The trial of a process that died is run again by another one.
    """
    with friendly_errors():
        read = read_options(file_format, columns)
        chosen = choose_recipe(recipe, name, train_file, dev_file, read, settings).recipe
        from training.pipeline.run import choose_device
        from training.pipeline.search import Search
        from training.pipeline.search_space import parse_space

        folder = runs / f"{chosen.name}-search"
        storage = storage or (str(folder / "study.db") if jobs > 1 else "")
        searching = Search(chosen, parse_space(vary), folder, choose_device(device), storage)
        if jobs > 1:
            from training.cli.jobs import run_jobs, written_recipe

            searching.check()
            given = written_recipe(chosen, folder)
            varied = [f"--vary={setting}" for setting in vary]
            options = [f"--trials={trials}", f"--runs={runs}", f"--device={device}", f"--storage={storage}"]
            run_jobs(jobs, ["search", str(given), *varied, *options], say)
        best = searching.run(trials, say)
        typer.echo((folder / "trials.csv").read_text(encoding="utf-8"), nl=False)
        typer.echo(f"best recipe: {best}")
