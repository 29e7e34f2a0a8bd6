"""The recipe of a fine-tuning: that of the model it starts from, with other data and a gentler schedule."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from service.bundle.load import MANIFEST_FILE, file_digest, load_bundle
from service.bundle.manifest import Manifest
from service.bundle.task_options import TrainedTask
from training.config.faults import in_words
from training.config.recipe import ConfigFault, DataConfig, Recipe, TrainingConfig, load_recipe, parse_recipe
from training.config.start import StartConfig
from training.data.read import read_records, split_paths
from training.data.records import Record
from training.pipeline.own_files import OwnFiles, read_own_files

#: The learning rate, as a share of that of the parent: large enough to learn new labels, too small to forget at once.
RATE_SHARE = 0.25
#: Updates that a small file is read for, and the bounds of the number of epochs that this makes. Where the most epochs
#: are too few, batches are smaller than those of the parent.
NUM_UPDATES, MIN_EPOCHS, MAX_EPOCHS, MIN_BATCH = 600, 4, 40, 8
#: On a language model: the rate of the output layers (that of Howard and Ruder 2018), and that of each layer below as a
#: share of the one above it.
BODY_RATE, LAYER_DECAY = 0.01, 0.4
_CONFIG_FILE, _BEST_WEIGHTS = "config.toml", "best.safetensors"


def parent_recipe(path: Path) -> Recipe:
    """The recipe of a bundle or of a run, under the name that the bundle has now.

    Raises:
        ConfigFault: it is neither; or the bundle was not trained by a recipe.
        BundleError: the bundle is damaged.
    """
    if (path / MANIFEST_FILE).is_file():
        return recipe_of(load_bundle(path).manifest, path)
    if (path / _CONFIG_FILE).is_file():
        return load_recipe(path / _CONFIG_FILE)
    raise ConfigFault(f"{path} is neither a bundle (it has no {MANIFEST_FILE}) nor a run (it has no {_CONFIG_FILE})")


def recipe_of(manifest: Manifest, path: Path) -> Recipe:
    """The recipe that a bundle was trained by. Raises ConfigFault where it holds none."""
    if not manifest.training.config:
        raise ConfigFault(f"{path} does not hold the recipe of its training, so that its network cannot be built again")
    return parse_recipe({**manifest.training.config, "name": manifest.name}, f"the recipe of {path}")


def digest_of(path: Path) -> str:
    """The digest that a bundle or a run is known by: of the manifest, or of the best weights."""
    manifest, weights = path / MANIFEST_FILE, path / _BEST_WEIGHTS
    if not manifest.is_file() and not weights.is_file():
        raise ConfigFault(f"{path} has no trained weights yet: train it first")
    return file_digest(manifest if manifest.is_file() else weights)


def start_values(path: Path, start: dict[str, Any]) -> dict[str, Any]:
    """The table `[start]` for a model and further keys; paths are absolute, so that a run can be repeated anywhere."""
    files = {key: str(Path(start[key]).absolute()) for key in ("old_dev", "replay") if _is_file(start.get(key))}
    return {**start, **files, "model": str(path.absolute()), "digest": digest_of(path)}


def fine_tuning_recipe(
    data: DataConfig, start: dict[str, Any], name: str = "", overrides: dict[str, Any] | None = None
) -> OwnFiles:
    """The recipe for a user's own files, and the records of the training file. `start` is as `start_values` gives it.

    Raises:
        ConfigFault: the model cannot be started from, or an override is wrong.
        DataFault: the training file cannot be read for the model's task.
    """
    theirs = parent_recipe(Path(start["model"]))
    records = read_records(theirs.task, data.train, data.read)
    _check_kind(theirs, records, data.train)
    paths = {"train": _absolute(data.train), "dev": _absolute(data.dev)}
    values = theirs.model_dump(mode="json", exclude_none=True)
    values |= {
        "name": name or theirs.name,
        "licence": "",
        "examples_from_dev": False,
        "data": {**paths, "read": data.read.model_dump(exclude_unset=True)},
        "start": start,
        "training": values["training"] | gentle(theirs.training, _num_records(theirs, records, start)),
    }
    values["tokenizer"] |= {"vectors": ""}
    return OwnFiles(parse_recipe(values, "the command line", overrides), records)


def body_recipe(
    task: TrainedTask, data: DataConfig, start: dict[str, Any], name: str, overrides: dict[str, Any] | None = None
) -> OwnFiles:
    """The recipe of a network of another task on the layers of a language model (ULMFiT, Howard and Ruder 2018).

    Raises:
        ConfigFault: the model is no language model, the task cannot use one, or an override is wrong.
        DataFault: the training file cannot be read for this task.
    """
    from training.tasks.catalogue import TASKS

    theirs = parent_recipe(Path(start["model"]))
    sizes = TASKS[task].body_settings(theirs.network) if theirs.network.learns_running_text else {}
    if not sizes:
        raise ConfigFault(f"--from {start['model']} is for {theirs.task}, not for {task}")
    settings = {
        **{f"tokenizer.{key}": value for key, value in theirs.tokenizer.model_dump(mode="json").items()},
        **{f"network.{key}": value for key, value in sizes.items()},
        **{f"start.{key}": value for key, value in start.items()},
        "tokenizer.vectors": "",
        "training.learning_rate": BODY_RATE,
        "training.layer_decay": LAYER_DECAY,
        "training.unfreeze": "gradual",
    }
    found = read_own_files(task, name, data.train, data.dev, data.read, {**settings, **(overrides or {})})
    _check_kind(theirs, found.records, data.train)
    return found


def gentle(theirs: TrainingConfig, num_rows: int) -> dict[str, Any]:
    """Keys of [training] for learning further from so many rows of batches."""
    batch_size = min(theirs.batch_size, max(MIN_BATCH, num_rows * MAX_EPOCHS // NUM_UPDATES))
    num_batches = math.ceil(num_rows / batch_size)
    epochs = max(MIN_EPOCHS, min(MAX_EPOCHS, math.ceil(NUM_UPDATES / num_batches)))
    # New labels begin below all others, so that the first epochs may score nothing at all: no early stopping.
    least = theirs.average_patience + 1 if theirs.average == "asgd" else epochs
    return {
        "learning_rate": theirs.learning_rate * RATE_SHARE,
        "batch_size": batch_size,
        "epochs": epochs,
        "patience": max(least, epochs),
        "warmup_steps": min(theirs.warmup_steps, epochs * num_batches // 10),
    }


def _check_kind(theirs: Recipe, records: Sequence[Record], train: str) -> None:
    """Raises ConfigFault where one of both is for texts and the other for signals."""
    from training.tasks.catalogue import SIGNALS, task_for

    if (task_for(theirs.task, records) is SIGNALS) != (theirs.signal.kind != "none"):
        kind = "texts" if theirs.signal.kind == "none" else "signals"
        raise ConfigFault(f"{theirs.name} reads {kind}, and {train} holds something else")


def _num_records(theirs: Recipe, records: Sequence[Record], start: dict[str, Any]) -> int:
    """Rows of batches in an epoch, those that are replayed too."""
    # Imported late, for it loads torch: faults of a file are reported without that delay.
    from training.tasks.catalogue import task_for

    replayed = _checked(start).replay_share if start.get("replay") else 0.0
    return math.ceil(max(1, task_for(theirs.task, records).num_batches(records, 1)) / (1 - replayed))


def _checked(start: dict[str, Any]) -> StartConfig:
    """The table `[start]`. Raises ConfigFault for each wrong key."""
    try:
        return StartConfig.model_validate(start)
    except ValidationError as error:
        faults = [in_words({**fault, "loc": ("start", *fault["loc"])}, Recipe) for fault in error.errors()]
        raise ConfigFault(f"the command line: {'; '.join(faults)}") from error


def _is_file(path: Any) -> bool:
    return isinstance(path, str) and bool(path) and Path(path).exists()


def _absolute(path: str) -> str:
    """Absolute paths; `a.en,a.de` is two."""
    return ",".join(str(part.absolute()) for part in split_paths(path)) if path else ""
