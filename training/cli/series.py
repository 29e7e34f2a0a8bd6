"""Commands that train a recipe several times: `seeds` and `leave-one-out`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.cli.options import (
    ColumnOption,
    Device,
    ExportAfter,
    FormatOption,
    Jobs,
    ModelsFolder,
    RunsFolder,
    friendly_errors,
    read_options,
    say,
)
from training.cli.recipe import DevFile, NameOption, RecipeArgument, SetOption, TrainFile, choose_recipe


def seeds(
    recipe: RecipeArgument,
    count: Annotated[
        int, typer.Option("--seeds", min=2, help="Number of seeds, counted up from that of the recipe.")
    ] = 3,
    train_file: TrainFile = "",
    dev_file: DevFile = "",
    name: NameOption = "",
    settings: SetOption = None,
    file_format: FormatOption = None,
    columns: ColumnOption = None,
    runs: RunsFolder = Path("runs"),
    models: ModelsFolder = Path("models"),
    export_after: ExportAfter = True,
    device: Device = "auto",
    jobs: Jobs = 1,
) -> None:
    """Train a recipe with several seeds, and print mean and standard deviation of the dev scores beside the baseline.

    unroll seeds trec-en --seeds 3

    Publishes the bundle of the first seed, not of the best; its model card has the means. Runs and the table are in
    runs/NAME-seeds. Repeat the command to resume an interrupted series.

    Several processes may run the same command: each trains the next seed that none has taken. --jobs starts them here;
    on other machines, run it with --runs on a disk that all share.
    """
    with friendly_errors():
        read = read_options(file_format, columns)
        chosen = choose_recipe(recipe, name, train_file, dev_file, read, settings).recipe
        from training.pipeline.run import choose_device
        from training.pipeline.series import by_seed, publish_first, run_series, table

        members, folder = by_seed(chosen, count), runs / f"{chosen.name}-seeds"
        if jobs > 1:
            from training.cli.jobs import run_jobs, written_recipe

            given = written_recipe(chosen, folder)
            options = [f"--seeds={count}", f"--runs={runs}", f"--device={device}", "--no-export"]
            run_jobs(jobs, ["seeds", str(given), *options], say)
        manifests = run_series(members, folder, choose_device(device), say)
        typer.echo(table(members, manifests), nl=False)
        if export_after:
            typer.echo(f"published {publish_first(members, manifests, folder, models)}")


def leave_one_out(
    recipe: RecipeArgument,
    train_file: TrainFile = "",
    dev_file: DevFile = "",
    name: NameOption = "",
    settings: SetOption = None,
    file_format: FormatOption = None,
    columns: ColumnOption = None,
    runs: RunsFolder = Path("runs"),
    device: Device = "auto",
) -> None:
    """Cross-validate by group: train once per group of the data, such as a speaker, and score on the held-out group.

    unroll leave-one-out digits-en

    Measures how the model does on speakers that are not in the training data. Publishes nothing, since each model
    lacks a part of the data. Runs and the table are in runs/NAME-groups. Repeat the command to resume.
    """
    with friendly_errors():
        read = read_options(file_format, columns)
        chosen = choose_recipe(recipe, name, train_file, dev_file, read, settings).recipe
        from training.pipeline.run import choose_device
        from training.pipeline.series import by_group, run_series, table

        members = by_group(chosen)
        manifests = run_series(members, runs / f"{chosen.name}-groups", choose_device(device), say)
        typer.echo(table(members, manifests), nl=False)
