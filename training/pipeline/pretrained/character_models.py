"""Pretrained character models: from the run folders of two language models to the features of a tagger."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from service.bundle.tokenizer import UNK, TextTokenizer
from training.config.networks import LanguageModelConfig
from training.config.recipe import ConfigFault
from training.fit.run_folder import RunFolder
from training.preprocessing.character_models import DIRECTIONS, CharacterModels, Direction, ReaderShape
from training.preprocessing.tensor_file import read_tensors

#: Names of the recurrent weights in a language model, and in a reader of a tagger.
_KEPT = {"embedding.": "embedding.", "stack.layers.0.": "rnn."}


def read_character_models(folders: Sequence[str]) -> tuple[CharacterModels, TextTokenizer]:
    """Both models and their common alphabet.

    Raises:
        ConfigFault: a model is not of characters, has several layers or the wrong direction, or the alphabets differ.
        RunFolderFault, CheckpointFault: a folder is not a run, or has not been trained.
    """
    runs = {direction: RunFolder(Path(folder)) for direction, folder in zip(DIRECTIONS, folders, strict=True)}
    shapes = {direction: _shape(direction, run) for direction, run in runs.items()}
    alphabets = {direction: run.vocabulary().tokenizers["text"] for direction, run in runs.items()}
    if len({_symbols(alphabet) for alphabet in alphabets.values()}) > 1:
        raise ConfigFault("network.contextual: both models must know the same characters: train them on the same text")
    alphabet = alphabets["forward"]
    weights = {name: tensor for direction, run in runs.items() for name, tensor in _weights(direction, run).items()}
    sources = {run.source().model_dump_json(): run.source() for run in runs.values()}
    marks = _id_of(alphabet, " "), _id_of(alphabet, "\n")
    return CharacterModels(shapes, *marks, sources=tuple(sources.values()), weights=weights), alphabet


def _shape(direction: Direction, run: RunFolder) -> ReaderShape:
    recipe = run.recipe()
    network = recipe.network
    if not isinstance(network, LanguageModelConfig) or recipe.tokenizer.unit != "character":
        raise ConfigFault(f"network.contextual: {run.path} is not a language model of characters")
    if network.layers != 1 or network.layer_norm:
        raise ConfigFault(f"network.contextual: {run.path} must have one layer and no layer_norm")
    if recipe.data.reverse != (direction == "backward"):
        raise ConfigFault(
            f"network.contextual: {run.path} has data.reverse = {str(recipe.data.reverse).lower()}; "
            "the first model reads forward, the second backward"
        )
    return ReaderShape(network.cell, network.embedding_size, network.hidden_size)


def _symbols(alphabet: TextTokenizer) -> tuple[str, ...]:
    return tuple(alphabet.token(number) for number in range(alphabet.vocabulary_size))


def _weights(direction: Direction, run: RunFolder) -> dict[str, Tensor]:
    tensors, _ = read_tensors(run.best_weights)
    return {
        f"{direction}_reader.{prefix}{name.removeprefix(theirs)}": tensor
        for name, tensor in tensors.items()
        for theirs, prefix in _KEPT.items()
        if name.startswith(theirs)
    }


def _id_of(alphabet: TextTokenizer, character: str) -> int:
    (number,) = alphabet.encode_characters(character, 1)
    if number == UNK:
        raise ConfigFault(f"network.contextual: both models must know {character!r}: words or lines end with it")
    return number
