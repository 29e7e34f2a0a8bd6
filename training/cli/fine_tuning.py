"""Options of `unroll train --from`: start from a published model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from service.bundle.load import MANIFEST_FILE
from service.errors import UnrollError
from training.cli.names import bundle_at
from training.cli.options import parse_settings
from training.cli.recipe import TASKS, Chosen, choose_recipe
from training.data.formats.options import ReadOptions

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
