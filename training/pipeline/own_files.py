"""Derive a recipe from a user's own labelled files, reading the training file once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from service.bundle.task_options import TrainedTask
from training.config.defaults import check_name, default_recipe
from training.config.recipe import DataConfig, Recipe
from training.data.formats.options import ReadOptions
from training.data.read import read_records
from training.data.records import Record


class OwnFiles(NamedTuple):
    """The recipe for a user's own files, and the records of the training file."""

    recipe: Recipe
    records: Sequence[Record]


def read_own_files(
    task: TrainedTask,
    name: str,
    train: str,
    dev: str = "",
    read: ReadOptions | None = None,
    overrides: dict[str, Any] | None = None,
) -> OwnFiles:
    """Read the training file and derive the recipe. Raises ConfigFault or DataFault with what is wrong."""
    check_name(name)
    data = DataConfig(train=train, dev=dev, read=read or ReadOptions())
    records = read_records(task, train, data.read)
    # Imported late, for it loads torch: faults of a file are reported without that delay.
    from training.tasks.catalogue import task_for

    recipe = default_recipe(task_for(task, records), name, data, records, overrides)
    return OwnFiles(recipe, records)
