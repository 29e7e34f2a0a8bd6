"""Build a network from a recipe and a vocabulary."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from service.bundle.manifest import TaskName
from service.bundle.padding import FloatArray
from training.config.networks import (
    CaptionerConfig,
    ClassifierConfig,
    ForecasterConfig,
    LanguageModelConfig,
    TaggerConfig,
    TranslatorConfig,
)
from training.config.recipe import ConfigFault, Recipe
from training.networks.captioner import Captioner
from training.networks.classifier import Classifier
from training.networks.forecaster import Forecaster
from training.networks.inputs.front_end import FrontEnd
from training.networks.language_model import LanguageModel
from training.networks.network import Network
from training.networks.signal_classifier import SignalClassifier
from training.networks.tagger import Tagger
from training.networks.translator import Translator
from training.preprocessing.vocabulary import Vocabulary


def build_network(recipe: Recipe, vocabulary: Vocabulary) -> Network:
    """A new network, initialised from the recipe's seed, and from pretrained word vectors if there are any."""
    torch.manual_seed(recipe.seed)
    network = NETWORKS[recipe.task](recipe, vocabulary)
    if vocabulary.vectors is not None:
        module, size_key = WORD_EMBEDDING[recipe.task]
        _initialise_embedding(network.get_submodule(module), vocabulary.vectors, size_key)
    return network


def _tagger(recipe: Recipe, vocabulary: Vocabulary) -> Network:
    assert isinstance(recipe.network, TaggerConfig)
    if recipe.network.joint and not vocabulary.text_labels:
        raise ConfigFault("network.joint needs texts that have a label beside their tags, and no text in train has one")
    sizes = vocabulary.size("words"), vocabulary.size("characters"), len(vocabulary.labels)
    return Tagger(recipe.network, *sizes, len(vocabulary.text_labels), vocabulary.character_models)


def _classifier(recipe: Recipe, vocabulary: Vocabulary) -> Network:
    assert isinstance(recipe.network, ClassifierConfig)
    if vocabulary.signal_scale is not None:
        front_end = FrontEnd(recipe.signal, recipe.augment, vocabulary.signal_scale, recipe.network.dropout)
        return SignalClassifier(recipe.network, front_end, len(vocabulary.labels))
    characters = vocabulary.size("characters") if recipe.network.characters != "none" else 0
    return Classifier(recipe.network, vocabulary.size("text"), len(vocabulary.labels), characters)


def _translator(recipe: Recipe, vocabulary: Vocabulary) -> Network:
    assert isinstance(recipe.network, TranslatorConfig)
    # The limit on source tokens, and the end token.
    max_source_tokens = recipe.limits.max_input_tokens + 1
    return Translator(recipe.network, vocabulary.size("source"), vocabulary.size("target"), max_source_tokens)


def _language_model(recipe: Recipe, vocabulary: Vocabulary) -> Network:
    assert isinstance(recipe.network, LanguageModelConfig)
    return LanguageModel(recipe.network, vocabulary.size("text"))


def _forecaster(recipe: Recipe, vocabulary: Vocabulary) -> Network:
    assert isinstance(recipe.network, ForecasterConfig)
    assert vocabulary.scale is not None
    return Forecaster(recipe.network, vocabulary.scale)


def _captioner(recipe: Recipe, vocabulary: Vocabulary) -> Network:
    assert isinstance(recipe.network, CaptionerConfig)
    return Captioner(recipe.network, recipe.picture, vocabulary.size("target"))


NETWORKS: dict[TaskName, Callable[[Recipe, Vocabulary], Network]] = {
    "tagging": _tagger,
    "classification": _classifier,
    "translation": _translator,
    "generation": _language_model,
    "forecasting": _forecaster,
    "captioning": _captioner,
}

#: The embedding that pretrained word vectors initialise, and the key of its size, for tasks that support them.
WORD_EMBEDDING: dict[TaskName, tuple[str, str]] = {
    "tagging": ("word_embedding", "network.word_size"),
    "classification": ("embedding", "network.embedding_size"),
}


def _initialise_embedding(embedding: nn.Module, vectors: FloatArray, size_key: str) -> None:
    """Copy the pretrained vectors; words without one are initialised with the same standard deviation."""
    assert isinstance(embedding, nn.Embedding)
    rows = torch.from_numpy(vectors)
    if rows.shape[1] != embedding.embedding_dim:
        raise ConfigFault(
            f"the word vectors have {rows.shape[1]} numbers, the network expects {embedding.embedding_dim}: "
            f"--set {size_key}={rows.shape[1]}"
        )
    known = ~rows.isnan().any(dim=1)
    if not known.any():
        return
    with torch.no_grad():
        embedding.weight.mul_(rows[known].std())
        embedding.weight[known] = rows[known]
        embedding.weight[0].zero_()
