"""Which recipe a command works with: a shipped one, a TOML file, or the defaults of a task for files of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, get_args

import typer

from service.bundle.manifest import TaskName
from service.errors import UnrollError
from training.cli.options import parse_settings
from training.data.formats.options import ReadOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from training.config.recipe import Recipe
    from training.data.records import Record

TASKS: tuple[TaskName, ...] = get_args(TaskName)

RecipeArgument = Annotated[str, typer.Argument(help="A recipe by name or .toml file, or a task for files of your own.")]
TrainFile = Annotated[str, typer.Option("--train", help="Your labelled file, folder, or a.en,a.de.")]
DevFile = Annotated[str, typer.Option("--dev", help="Your dev file; without it a part of train is kept.")]
NameOption = Annotated[str, typer.Option(help="What the model shall be called.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="Change a value of the recipe: --set training.epochs=5")
]


class Chosen(NamedTuple):
    """A recipe, and the records of the user's training file where it was derived from them."""

    recipe: Recipe
    train: Sequence[Record] | None


def choose_recipe(
    recipe: str, name: str, train_file: str, dev_file: str, read: ReadOptions, settings: list[str] | None
) -> Chosen:
    """The recipe that the options of a command ask for. Raises ConfigFault or DataFault with what is wrong."""
    from training.config.recipe import find_recipe, load_recipe
    from training.pipeline.own_files import read_own_files

    overrides: dict[str, Any] = parse_settings(settings or [])
    tasks = {task: task for task in TASKS}
    if recipe in tasks:
        if not train_file:
            raise UnrollError(f"--train is missing: which file shall {recipe} learn from?")
        return Chosen(*read_own_files(tasks[recipe], name, train_file, dev_file, read, overrides))
    if train_file or dev_file:
        raise UnrollError(f"--train and --dev go with a task ({', '.join(TASKS)}), not with a recipe")
    if (Path(recipe) / "config.toml").is_file():
        raise UnrollError(f"{recipe} is a run: `unroll retrain {recipe}` repeats it, `unroll resume {recipe}` goes on")
    return Chosen(load_recipe(find_recipe(recipe), overrides | ({"name": name} if name else {})), None)
