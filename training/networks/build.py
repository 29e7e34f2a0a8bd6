"""Build a network from a recipe and a vocabulary."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import nn

from service.bundle.padding import FloatArray
from training.config.recipe import ConfigFault, Recipe
from training.config.start import Frozen
from training.networks.network import Network
from training.preprocessing.vocabulary import Vocabulary


class WordEmbedding(NamedTuple):
    """The embedding of words in a network: the role of its tokenizer, its module, and the recipe's key of its size."""

    role: str
    module: str
    size_key: str


class BuiltTask(Protocol):
    """The part of a task that building a network needs."""

    @property
    def word_embedding(self) -> WordEmbedding | None:
        """The embedding that word vectors go into; None where no words are read."""

    def network(self, recipe: Recipe, vocabulary: Vocabulary) -> Network:
        """A new network with random weights."""


def build_network(task: BuiltTask, recipe: Recipe, vocabulary: Vocabulary) -> Network:
    """A new network, initialised from the recipe's seed, and from pretrained word vectors if there are any.

    What the recipe freezes is out of training.
    """
    torch.manual_seed(recipe.seed)
    network = task.network(recipe, vocabulary)
    if vocabulary.vectors is not None and task.word_embedding is not None:
        embedding = task.word_embedding
        _initialise_embedding(network.get_submodule(embedding.module), vocabulary.vectors, embedding.size_key)
    freeze(network, recipe.start.freeze)
    return network


def freeze(network: Network, what: Frozen) -> None:
    """Take the `embeddings`, or the `encoder` with all that it reads, out of training.

    Raises ConfigFault where nothing would be left to learn, or the network has no such part.
    """
    if what == "none":
        return
    frozen: list[nn.Module]
    if what == "embeddings":
        frozen = [module for module in network.modules() if isinstance(module, nn.Embedding)]
    else:
        parts = dict(network.named_children())
        frozen = [parts[name] for name in network.reading_modules if name in parts]
    for module in frozen:
        module.requires_grad_(False)
    if not frozen:
        raise ConfigFault(f"start.freeze: a {type(network).__name__} has no {what} to freeze")
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise ConfigFault(f"start.freeze: without its {what} the network has nothing left to learn")


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
