"""Recipe for a user's own files: the defaults of the task, and enough epochs for the size of the data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

from service.bundle.task_options import TrainedTask
from training.config.recipe import ConfigFault, DataConfig, Recipe, parse_recipe
from training.data.read import split_paths

#: With fewer updates a network scores below a table of counts; more epochs than this do not help.
MIN_UPDATES, MAX_EPOCHS = 2000, 100


class DefaultsTask(Protocol):
    """The part of a task that default recipes need."""

    @property
    def name(self) -> TrainedTask:
        """The task as recipes spell it."""

    def defaults(self, records: Sequence[Any]) -> dict[str, Any]:
        """Tables of the recipe that suit these records."""

    def num_batches(self, records: Sequence[Any], batch_size: int) -> int:
        """Approximate updates per epoch."""


def default_recipe(
    task: DefaultsTask, name: str, data: DataConfig, records: Sequence[Any], overrides: dict[str, Any] | None = None
) -> Recipe:
    """The recipe that suits `records`, which were read from `data.train`.

    Raises:
        ConfigFault: an override is wrong, or the name is missing.
    """
    check_name(name)
    paths = {"train": _absolute(data.train), "dev": _absolute(data.dev)}
    values: dict[str, Any] = {
        **task.defaults(records),
        "name": name,
        "task": task.name,
        "data": {**paths, "read": data.read.model_dump(exclude_unset=True)},
    }
    training = values["training"]
    values["training"] = training | _long_enough(training, task.num_batches(records, training["batch_size"]))
    return parse_recipe(values, "the command line", overrides)


def check_name(name: str) -> None:
    """Raises ConfigFault where the model has no name."""
    if not name:
        raise ConfigFault("--name is missing: give the model a name of lower-case letters, digits and -._")


def _long_enough(training: dict[str, Any], num_batches: int) -> dict[str, int]:
    """More epochs, and more patience, for a small file: it makes few updates per epoch."""
    epochs = min(MAX_EPOCHS, math.ceil(MIN_UPDATES / max(1, num_batches)))
    if epochs <= training["epochs"]:
        return {}
    return {"epochs": epochs, "patience": max(training["patience"], epochs // 6)}


def _absolute(path: str) -> str:
    """Absolute paths, so that a run can be resumed from any working directory; `a.en,a.de` is two paths."""
    return ",".join(str(part.absolute()) for part in split_paths(path)) if path else ""
