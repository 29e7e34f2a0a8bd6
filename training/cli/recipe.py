"""Choose the recipe of a command: a shipped one, a TOML file, or the defaults of a task for the user's files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, get_args

import typer

from service.bundle.task_options import TrainedTask
from service.errors import UnrollError
from training.cli.options import parse_settings
from training.data.formats.options import ReadOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from training.config.recipe import Recipe
    from training.data.records import Record

TASKS: tuple[TrainedTask, ...] = get_args(TrainedTask)

RecipeArgument = Annotated[
    str,
    typer.Argument(
        help=f"Recipe by name or .toml file; for your own files a task: {', '.join(TASKS[:-1])} or {TASKS[-1]}."
    ),
]
TrainFile = Annotated[str, typer.Option("--train", help="Labelled file, folder, or a.en,a.de.")]
DevFile = Annotated[str, typer.Option("--dev", help="Dev file; without it a part of the training file is held out.")]
NameOption = Annotated[str, typer.Option(help="Name of the model.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a value of the recipe: --set training.epochs=5"),
]


class Chosen(NamedTuple):
    """A recipe, and the records of the user's training file where it was derived from them."""

    recipe: Recipe
    train: Sequence[Record] | None


def choose_recipe(
    recipe: str, name: str, train_file: str, dev_file: str, read: ReadOptions, settings: list[str] | None
) -> Chosen:
    """Load the recipe and apply the options of the command. Raises ConfigFault or DataFault."""
    from training.config.recipe import find_recipe, load_recipe, nearest_task
    from training.pipeline.own_files import read_own_files

    overrides: dict[str, Any] = parse_settings(settings or [])
    tasks = {task: task for task in TASKS}
    if recipe in tasks:
        if not train_file:
            raise UnrollError("--train is missing: pass the labelled file to train on, such as --train train.tsv")
        return Chosen(*read_own_files(tasks[recipe], name, train_file, dev_file, read, overrides))
    if train_file or dev_file:
        near = "" if _is_recipe(recipe) else nearest_task(recipe)
        hint = f"; did you mean {near}?" if near else ", not a recipe, which names its data"
        raise UnrollError(f"--train and --dev need a task ({', '.join(TASKS)}), not {recipe!r}{hint}")
    if (Path(recipe) / "config.toml").is_file():
        raise UnrollError(f"{recipe} is a run folder: use `unroll resume {recipe}` or `unroll retrain {recipe}`")
    return Chosen(load_recipe(find_recipe(recipe), overrides | ({"name": name} if name else {})), None)


def _is_recipe(name_or_path: str) -> bool:
    from training.config.recipe import ConfigFault, find_recipe

    try:
        find_recipe(name_or_path)
    except ConfigFault:
        return False
    return True
