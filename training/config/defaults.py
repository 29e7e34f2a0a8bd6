"""A recipe for a user's own files: sensible values for each task, nothing to write."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from service.bundle.manifest import TaskName
from training.config.networks import LanguageModelConfig
from training.config.recipe import ConfigFault, Recipe, parse_recipe
from training.config.signals import SignalKind
from training.data.formats.options import ReadOptions
from training.data.read import read_records, split_paths
from training.data.readers.schemes import span_scheme
from training.data.records import LabelledSignal, Record, Series, TaggedSentence

#: What differs from the defaults in `recipe.py`. Sizes suit files of a few thousand to a hundred thousand records.
OWN_DEFAULTS: dict[TaskName, dict[str, Any]] = {
    "tagging": {
        "network": {"hidden_size": 200, "layers": 1},
        "training": {"epochs": 20, "patience": 4, "batch_size": 16, "ema_decay": 0.99},
    },
    "classification": {
        "network": {"hidden_size": 128, "pooling": "attention"},
        "training": {"epochs": 20, "patience": 4, "batch_size": 32, "ema_decay": 0.99},
    },
    "translation": {
        "tokenizer": {"unit": "subword", "vocabulary_size": 4000},
        "network": {"encoder_hidden_size": 192, "decoder_hidden_size": 256, "attention": "dot"},
        "training": {"epochs": 15, "patience": 3, "batch_size": 64, "warmup_steps": 200, "evaluate_records": 300},
        "limits": {"max_input_tokens": 256},
    },
    "generation": {
        "tokenizer": {"unit": "character"},
        "network": {"hidden_size": 384, "layers": 1, "embedding_size": 64},
        "training": {"epochs": 20, "patience": 3, "batch_size": 32},
        "limits": {"max_input_tokens": 2048, "max_new_tokens": 2048},
    },
    "captioning": {
        "tokenizer": {"unit": "subword", "vocabulary_size": 2000},
        "network": {"channels": [32, 64, 128], "embedding_size": 128, "hidden_size": 256},
        "picture": {
            "shift": 0.08,
            "scale": 0.12,
            "rotation_degrees": 10,
            "brightness": 0.1,
            "colour": 0.15,
            "erase": 0.3,
        },
        "training": {"epochs": 30, "patience": 6, "batch_size": 64, "ema_decay": 0.995, "warmup_steps": 100},
        "limits": {"max_input_tokens": 1024, "max_new_tokens": 40},
    },
    "forecasting": {
        "network": {"hidden_size": 128, "look_back": 168, "horizon": 24},
        "training": {"epochs": 20, "patience": 4, "batch_size": 64, "learning_rate": 1e-3, "threads": 1},
        "limits": {"max_input_tokens": 4096},
    },
}

#: The same for a classifier that reads numbers.
SIGNAL_DEFAULTS: dict[SignalKind, dict[str, Any]] = {
    "frames": {
        "signal": {"kind": "frames", "channels": [64]},
        "augment": {"noise": 0.1, "gain": 0.1},
        "network": {"cell": "gru", "hidden_size": 64, "pooling": "attention", "dropout": 0.3},
        "training": {"epochs": 20, "patience": 6, "batch_size": 32, "learning_rate": 1e-3, "ema_decay": 0.99},
        "limits": {"max_input_tokens": 2048},
    },
    "waveform": {
        "signal": {"kind": "waveform", "channels": [64], "normalise_each": True},
        "augment": {"speed": 0.15, "crop": 0.1, "noise": 0.2, "time_masks": 1, "feature_masks": 2},
        "network": {"cell": "gru", "hidden_size": 96, "layers": 2, "pooling": "attention", "dropout": 0.3},
        "training": {"epochs": 20, "patience": 6, "batch_size": 32, "ema_decay": 0.99},
        "limits": {"max_input_tokens": 1000},
    },
}

#: Fewer updates leave a network below what a table of counts can do; more epochs than this only repeat.
MIN_UPDATES, MAX_EPOCHS = 2000, 100


def own_recipe(
    task: TaskName,
    name: str,
    train: str,
    dev: str = "",
    read: ReadOptions | None = None,
    overrides: dict[str, Any] | None = None,
) -> Recipe:
    """The recipe for one's own files. Raises ConfigFault or DataFault with what is wrong."""
    if not name:
        raise ConfigFault("--name is missing: what shall the model be called? Lower-case letters, digits and -._")
    options = (read or ReadOptions()).model_dump(exclude_unset=True)
    records = read_records(task, train, read)
    values: dict[str, Any] = {
        **{section: dict(content) for section, content in _defaults(task, records).items()},
        "name": name,
        "task": task,
        "data": {"train": _absolute(train), "dev": _absolute(dev), "read": options},
    }
    _train_long_enough(values["training"], _num_batches(task, values, records))
    if task == "tagging":
        values["network"]["decoder"] = "crf" if _has_spans(records) else "softmax"
        values["network"]["joint"] = any(r.label for r in records if isinstance(r, TaggedSentence))
    return parse_recipe(values, "the command line", overrides)


def _defaults(task: TaskName, records: Sequence[Record]) -> dict[str, Any]:
    """What suits a task, and the kind of its records."""
    first = next(iter(records), None)
    if not isinstance(first, LabelledSignal):
        return OWN_DEFAULTS[task]
    defaults = SIGNAL_DEFAULTS[first.kind]
    if first.kind == "frames":
        return defaults
    return defaults | {"signal": {**defaults["signal"], "sample_rate_hz": first.sample_rate_hz}}


def _num_batches(task: TaskName, values: dict[str, Any], records: Sequence[Record]) -> int:
    """Updates in one epoch, near enough."""
    batch_size: int = values["training"]["batch_size"]
    if records and isinstance(records[0], Series):
        return math.ceil(len(records[0].values) / batch_size)
    if task != "generation":
        return math.ceil(len(records) / batch_size)
    window: int = LanguageModelConfig.model_fields["window"].default
    return math.ceil(sum(len(record[0]) for record in records) / (batch_size * window))


def _train_long_enough(training: dict[str, Any], num_batches: int) -> None:
    """A small file makes few updates an epoch: give it more epochs, and more of them before it gives up."""
    epochs = min(MAX_EPOCHS, math.ceil(MIN_UPDATES / max(1, num_batches)))
    if epochs > training["epochs"]:
        training["patience"] = max(training["patience"], epochs // 6)
        training["epochs"] = epochs


def _absolute(path: str) -> str:
    """Paths in a run folder must mean the same wherever the run is resumed from; `a.en,a.de` is two paths."""
    return ",".join(str(part.absolute()) for part in split_paths(path)) if path else ""


def _has_spans(records: Sequence[Record]) -> bool:
    return span_scheme(record.tags for record in records if isinstance(record, TaggedSentence)) is not None
