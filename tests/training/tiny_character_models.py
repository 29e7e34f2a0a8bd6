"""Two small character models with random weights, taggers that use them, and runs that train both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tests.training.exportable import characters_tokenizer, lively, vocabulary_sizes
from tests.training.tiny_runs import own_recipe, tiny_overrides, write_files
from training.config.networks import Cell, LanguageModelConfig, TaggerConfig
from training.config.recipe import Recipe
from training.networks.language_model import LanguageModel
from training.networks.tagger import Tagger
from training.pipeline.run import prepare_run, start_run, train_run
from training.preprocessing.character_models import CharacterModels, ReaderShape

CPU = torch.device("cpu")
(BLANK,) = characters_tokenizer().encode_characters(" ", 1)
#: Any character does, as long as it stands at both ends.
LINE_END = 5


def language_models(cell: Cell = "lstm") -> dict[str, LanguageModel]:
    """The two language models of `character_models`, equal at every call; the backward one is smaller."""
    _, characters, _ = vocabulary_sizes()
    sizes = {"forward": (5, 7), "backward": (4, 6)}
    configs = {
        direction: LanguageModelConfig(cell=cell, embedding_size=embedding, hidden_size=hidden, layers=1)
        for direction, (embedding, hidden) in sizes.items()
    }
    with torch.random.fork_rng():
        torch.manual_seed(7)
        return {direction: lively(LanguageModel(config, characters)) for direction, config in configs.items()}


def character_models(cell: Cell = "lstm") -> CharacterModels:
    """What `read_character_models` would return for `language_models`."""
    weights, shapes = {}, {}
    for direction, model in language_models(cell).items():
        weights[f"{direction}_reader.embedding.weight"] = model.embedding.weight.detach()
        for name, value in model.stack.layers[0].named_parameters():
            weights[f"{direction}_reader.rnn.{name}"] = value.detach()
        shapes[direction] = ReaderShape(cell, model.config.embedding_size, model.config.hidden_size)
    forward, backward = shapes["forward"], shapes["backward"]
    return CharacterModels({"forward": forward, "backward": backward}, BLANK, LINE_END, (), weights)


def contextual_tagger(cell: Cell = "lstm", **changes: Any) -> Tagger:
    """A tagger with contextual features and, unless `changes` override it, no other character features."""
    sizes = {"hidden_size": 12, "word_size": 10, "contextual_size": 9, "character_size": 4, "character_hidden_size": 5}
    contextual = {"contextual": ("forward", "backward"), "characters": "none"}
    config = TaggerConfig.model_validate({**sizes, **contextual, **changes})
    return lively(Tagger(config, *vocabulary_sizes(), models=character_models(cell)))


def train_character_models(folder: Path, **forward_changes: Any) -> tuple[str, str]:
    """Train both directions on the same generated text; `forward_changes` are dotted keys with `__` for the dot."""
    paths = []
    for direction in ("forward", "backward"):
        changes = {key.replace("__", "."): value for key, value in forward_changes.items()}
        overrides = tiny_overrides("generation", epochs=1, trackers=[]) | {"data.reverse": direction == "backward"}
        recipe = _own("generation", folder, overrides | (changes if direction == "forward" else {}))
        train_run(start_run(prepare_run(recipe), folder / direction), CPU)
        paths.append(str(folder / direction))
    return paths[0], paths[1]


def contextual_recipe(folder: Path, models: tuple[str, str], **changes: Any) -> Recipe:
    """The recipe of a tiny tagger with `models`; `changes` are keys of its [training] table."""
    overrides = tiny_overrides("tagging", trackers=[], **changes)
    return _own("tagging", folder, overrides | {"network.contextual": models, "network.contextual_size": 4})


def _own(task: Any, folder: Path, overrides: dict[str, Any]) -> Recipe:
    train, dev = write_files(task, folder / "data")
    return own_recipe(task, f"tiny-{task}", str(train), str(dev), None, overrides)
