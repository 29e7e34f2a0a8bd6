"""The records of a recipe: a public set or one's own files, with a dev part made where there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from service.bundle.load import file_digest
from service.bundle.manifest import DataSource
from training.config import DataConfig, Recipe
from training.datasets import NAMED_DATASETS, locate, read_records, split_records
from training.datasets.locate import find_dataset
from training.datasets.read import split_paths
from training.records import Record


@dataclass(frozen=True)
class RunData:
    """Both parts, where they come from, and a sentence about the split if one was made."""

    train: Sequence[Record]
    dev: Sequence[Record]
    source: DataSource
    remark: str = ""


def load_data(recipe: Recipe) -> RunData:
    """Read train and dev. Raises DataFault or DatasetUnavailable with what is wrong and what helps."""
    return _named(recipe) if recipe.data.dataset else _own(recipe, recipe.data)


def _named(recipe: Recipe) -> RunData:
    entry = find_dataset(recipe.data.dataset)
    # Not `exclude_unset`: the recipe in a run folder spells out every default.
    given = recipe.data.read.model_dump(exclude_defaults=True)
    options = entry.options.model_copy(update=given)
    train, dev = locate(entry.name, "train"), locate(entry.name, "dev")
    digests = {f"{split}/{file.path}": file.sha256 for split in ("train", "dev") for file in entry.splits[split].files}
    return RunData(
        train=read_records(recipe.task, train, options),
        dev=read_records(recipe.task, dev, options),
        source=DataSource(name=entry.name, licence=entry.licence, attribution=entry.attribution, splits=digests),
    )


def _own(recipe: Recipe, config: DataConfig) -> RunData:
    records = read_records(recipe.task, config.train, config.read)
    name = ", ".join(path.name for path in split_paths(config.train))
    source = DataSource(name=name, licence=recipe.licence or "not stated", splits=_digests(config))
    if config.dev:
        return RunData(records, read_records(recipe.task, config.dev, config.read), source)
    parts = split_records(records, config.dev_percent / 100)
    return RunData(parts.train, parts.dev, source, parts.explanation)


def _digests(config: DataConfig) -> dict[str, str]:
    named = {"train": config.train, "dev": config.dev}
    paths = [(split, part) for split, given in named.items() if given for part in split_paths(given)]
    files = [(split, file) for split, path in paths for file in (sorted(path.iterdir()) if path.is_dir() else [path])]
    return {f"{split}/{file.name}": file_digest(file) for split, file in files if file.is_file()}


def may_ship(recipe: Recipe) -> bool:
    """Whether the licence of a named set lets weights trained on it be given away; one's own files are one's own."""
    entry = NAMED_DATASETS.get(recipe.data.dataset)
    return entry is None or entry.may_ship
