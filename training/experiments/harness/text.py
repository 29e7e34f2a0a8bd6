"""The text of the language model experiments, training windows of it, and its dev loss."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from training.config.recipe import Recipe, parse_recipe
from training.data.records import Passage
from training.evaluation.torch_runner import evaluating
from training.networks.layers.cells import State
from training.networks.network import Network
from training.preprocessing.batches import LanguageBatch
from training.preprocessing.load_records import load_data
from training.preprocessing.vocabulary import Vocabulary
from training.tasks.catalogue import TASKS
from training.tasks.generation import generation_vocabulary

#: Dev is always read in the same windows, so that losses are comparable.
DEV_WINDOW, DEV_STREAMS = 128, 16


@dataclass(frozen=True)
class Text:
    """Train and dev of tiny_shakespeare, possibly shortened, and the vocabulary of train."""

    train: list[Passage]
    dev: list[Passage]
    vocabulary: Vocabulary


@cache
def shakespeare(max_characters: int) -> Text:
    """The first `max_characters` characters of train and of dev; 0 means all."""
    recipe = character_recipe()
    data = load_data(TASKS["generation"], recipe)
    length = max_characters or None
    train, dev = ([Passage(str(record[0])[:length]) for record in part] for part in (data.train, data.dev))
    return Text(train, dev, generation_vocabulary(recipe.tokenizer, train))


def character_recipe(seed: int = 1, window: int = 64, streams: int = 32, **network: Any) -> Recipe:
    """A character model without dropout, as runs are too short to overfit."""
    values = {
        "name": "experiment",
        "task": "generation",
        "seed": seed,
        "data": {"dataset": "tiny_shakespeare"},
        "tokenizer": {"unit": "character"},
        "network": {"dropout": 0.0, "embedding_size": 32, "window": window, **network},
        "training": {"batch_size": streams},
    }
    return parse_recipe(values, "experiment")


class WindowLoss:
    """The `loss_of` of `fit`: consecutive windows with the state carried over, for any number of epochs."""

    def __init__(self, network: nn.Module, recipe: Recipe, text: Text) -> None:
        assert isinstance(network, Network)
        self._network = network
        self._data = TASKS["generation"].training_set(recipe, text.vocabulary, text.train)
        self._epoch = 0
        self._batches = self._data.epoch(0)
        self._place = 0
        self._state: State = ()

    def __call__(self, _step: int) -> Tensor:
        if self._place == len(self._batches):
            self._epoch += 1
            self._batches, self._place, self._state = self._data.epoch(self._epoch), 0, ()
        batch = self._data.batch(self._batches[self._place])
        self._place += 1
        loss, self._state = self._network.loss(batch, self._state)
        return loss


@torch.no_grad()
def dev_loss(network: Network, text: Text) -> float:
    """Dev loss in nats per character, in parallel streams with the state carried over."""
    recipe = character_recipe(window=DEV_WINDOW, streams=DEV_STREAMS)
    data = TASKS["generation"].training_set(recipe, text.vocabulary, text.dev)
    losses = []
    state: State = ()
    with evaluating(network):
        for order in data.epoch(0):
            batch = data.batch(order)
            assert isinstance(batch, LanguageBatch)
            loss, state = network.loss(batch, state)
            losses.append(float(loss))
    return sum(losses) / len(losses)
