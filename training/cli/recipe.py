"""Choose the recipe of a command: a shipped one, a file, the defaults of a task, or that of a model to start from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, get_args

import typer

from service.bundle.load import MANIFEST_FILE
from service.bundle.task_options import TrainedTask
from service.errors import UnrollError
from training.cli.names import bundle_at
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

FromOption = Annotated[
    Path | None,
    typer.Option("--from", help="Start from the weights and vocabulary of a bundle or run: ner-en, models/ner-en/1."),
]
FreezeOption = Annotated[
    str, typer.Option("--freeze", help="With --from, what keeps its weights: none, embeddings or encoder.")
]
ReplayOption = Annotated[
    str, typer.Option("--replay", help="With --from, earlier data to learn from again: a file or a public data set.")
]
ReplayShareOption = Annotated[
    float | None, typer.Option("--replay-share", help="Share of train that is replayed.  [default: 0.3]")
]
OldDevOption = Annotated[
    str, typer.Option("--old-dev", help="With --from, a labelled file of earlier data: scored before and after.")
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


class Start(NamedTuple):
    """The options, as they were given."""

    model: Path | None
    freeze: str
    replay: str
    replay_share: float | None
    old_dev: str

    def values(self) -> dict[str, Any]:
        """Keys of the table `[start]` that were given."""
        given = {"freeze": self.freeze, "replay": self.replay, "old_dev": self.old_dev}
        share = {} if self.replay_share is None else {"replay_share": self.replay_share}
        return {key: value for key, value in given.items() if value} | share


class Files(NamedTuple):
    """The options that name and read the new data."""

    name: str
    train: str
    dev: str
    read: ReadOptions


def choose(recipe: str, files: Files, settings: list[str], start: Start, models: Path, runs: Path) -> Chosen:
    """The recipe of a run, from random weights or from a model. Raises ConfigFault or DataFault."""
    if start.model is None:
        if given := start.values():
            raise UnrollError(f"--{next(iter(given)).replace('_', '-')} needs --from, the model to start from")
        if not recipe:
            raise UnrollError("name a recipe, such as pos-en, or a task with --train; or a model with --from")
        return choose_recipe(recipe, *files, settings)
    from training.pipeline.fine_tuning.derived import body_recipe, fine_tuning_recipe, parent_recipe, start_values

    path = model_at(start.model, models, runs)
    task = parent_recipe(path).task
    values = start_values(path, start.values())
    if recipe and recipe not in TASKS:
        return choose_recipe(
            recipe, *files, [*settings, *(f"start.{key}={_toml(value)}" for key, value in values.items())]
        )
    if not files.train:
        raise UnrollError(f"--train is missing: pass the labelled file that {path} is to learn from")
    from training.config.recipe import DataConfig

    data = DataConfig(train=files.train, dev=files.dev, read=files.read)
    if recipe and recipe != task:
        wanted = next(each for each in TASKS if each == recipe)
        return Chosen(*body_recipe(wanted, data, values, files.name, parse_settings(settings)))
    return Chosen(*fine_tuning_recipe(data, values, files.name, parse_settings(settings)))


def model_at(name_or_path: Path, models: Path, runs: Path) -> Path:
    """The bundle or the run of a path, or of a name: of a bundle first. Raises UnrollError where there is neither."""
    for path in (name_or_path, runs / name_or_path):
        if (path / "config.toml").is_file() and not (models / name_or_path).is_dir():
            return path
    if name_or_path.is_dir() and not any(name_or_path.glob(f"*/{MANIFEST_FILE}")):
        return name_or_path  # a bundle, or neither: parent_recipe tells
    return bundle_at(name_or_path, models)


def _toml(value: Any) -> str:
    """A value as TOML writes it: strings and numbers, as JSON does."""
    return json.dumps(value, ensure_ascii=False)
