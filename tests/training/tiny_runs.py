"""Runs that finish quickly: generated files for each task, and recipes for small networks."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from service.bundle.task_options import TrainedTask
from training.config.recipe import Recipe
from training.data.formats.options import ReadOptions
from training.pipeline.own_files import read_own_files

TASKS: tuple[TrainedTask, ...] = ("tagging", "classification", "translation", "generation")
NUM_TRAIN, NUM_DEV = 40, 8

_TAGS = {"the": "DET", "a": "DET", "cat": "NOUN", "dog": "NOUN", "bird": "NOUN", "sees": "VERB", "hears": "VERB"}
_GERMAN = {"the": "das", "a": "ein", "cat": "tier", "dog": "hund", "bird": "vogel", "sees": "sieht", "hears": "hört"}

#: Sizes of networks that are trained in milliseconds.
TINY: dict[TrainedTask, dict[str, Any]] = {
    "tagging": {
        "network.hidden_size": 6,
        "network.word_size": 5,
        "network.character_size": 4,
        "network.character_hidden_size": 4,
    },
    "classification": {"network.hidden_size": 6, "network.embedding_size": 5},
    "translation": {
        "tokenizer.vocabulary_size": 64,
        "network.embedding_size": 8,
        "network.encoder_hidden_size": 6,
        "network.decoder_hidden_size": 7,
        "network.attention_size": 5,
        "network.num_beams": 2,
        "training.evaluate_records": 2,
        "training.warmup_steps": 2,
        "limits.max_new_tokens": 12,
    },
    "generation": {
        "network.hidden_size": 8,
        "network.embedding_size": 5,
        "network.window": 8,
        "limits.max_input_tokens": 30,
        "limits.max_new_tokens": 60,
    },
}


def tiny_overrides(task: TrainedTask, **changes: Any) -> dict[str, Any]:
    """Dotted keys of a recipe; `changes` are keys of its [training] table."""
    training = {"epochs": 2, "batch_size": 8, "threads": 1, "learning_rate": 0.02, **changes}
    return TINY[task] | {f"training.{key}": value for key, value in training.items()}


def tiny_recipe(task: TrainedTask, folder: Path, **changes: Any) -> Recipe:
    """A recipe on generated files, which are written into `folder`."""
    train, dev = write_files(task, folder)
    return own_recipe(task, f"tiny-{task}", str(train), str(dev), None, tiny_overrides(task, **changes))


def own_recipe(
    task: TrainedTask,
    name: str,
    train: str,
    dev: str = "",
    read: ReadOptions | None = None,
    overrides: dict[str, Any] | None = None,
) -> Recipe:
    """The recipe that a command derives from these files."""
    return read_own_files(task, name, train, dev, read, overrides).recipe


def settings_of(task: TrainedTask, **changes: Any) -> list[str]:
    """The same sizes as command-line options."""
    return [f"--set={key}={str(value).lower()}" for key, value in tiny_overrides(task, **changes).items()]


def write_files(task: TrainedTask, folder: Path) -> tuple[Path, Path]:
    """Write a train and a dev file, equal at every call."""
    suffix = {"tagging": "conllu", "classification": "csv", "translation": "tsv", "generation": "txt"}[task]
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / f"train.{suffix}", folder / f"dev.{suffix}"
    for path, number, seed in zip(paths, (NUM_TRAIN, NUM_DEV), (1, 2), strict=True):
        path.write_text(_CONTENT[task](sentences(number, seed)), encoding="utf-8")
    return paths


def sentences(number: int, seed: int) -> list[list[str]]:
    """Sentences of three to nine words from a small vocabulary."""
    chance = random.Random(seed)

    def phrase() -> list[str]:
        return [chance.choice(["the", "a"]), chance.choice(["cat", "dog", "bird"])]

    def clause() -> list[str]:
        return [*phrase(), chance.choice(["sees", "hears"])]

    return [[word for _ in range(chance.randint(1, 3)) for word in clause()] for _ in range(number)]


def _conllu(made: list[list[str]]) -> str:
    blocks = []
    for words in made:
        rows = [f"{i}\t{w}\t{w}\t{_TAGS[w]}\t_\t_\t_\t_\t_\t_\n" for i, w in enumerate(words, start=1)]
        blocks.append("".join(rows) + "\n")
    return "".join(blocks)


def _csv(made: list[list[str]]) -> str:
    return "text,label\n" + "".join(f"{' '.join(words)},{words[1]}\n" for words in made)


def _tsv(made: list[list[str]]) -> str:
    pairs = [(" ".join(words), " ".join(_GERMAN[word] for word in words)) for words in made]
    return "source\ttarget\n" + "".join(f"{source}\t{target}\n" for source, target in pairs)


def _text(made: list[list[str]]) -> str:
    return "".join(" ".join(words).capitalize() + ".\n" for words in made)


_CONTENT = {"tagging": _conllu, "classification": _csv, "translation": _tsv, "generation": _text}
