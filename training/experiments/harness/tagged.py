"""Trains taggers on a part of a public data set for a few epochs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from torch import Tensor

from training.config.recipe import Recipe, parse_recipe
from training.data.records import TaggedSentence
from training.evaluation.dev_scorer import DevScorer
from training.experiments.harness.fitting import Budget, fit, seeded
from training.networks.build import build_network
from training.networks.tagger import Tagger
from training.preprocessing.batches import TaggingBatch
from training.preprocessing.load_records import load_data
from training.preprocessing.vocabulary import Vocabulary
from training.preprocessing.word_vectors import WordVectors, load_vectors
from training.tasks.catalogue import TASKS
from training.tasks.tagging import tagging_vocabulary

VECTORS = "glove_100d"
#: The most frequent ones only: Adam updates every row of the embedding in every step.
MAX_VECTORS = 10_000


@dataclass(frozen=True)
class Corpus:
    """A fixed random part of train, and the first sentences of dev."""

    train: Sequence[TaggedSentence]
    dev: Sequence[TaggedSentence]


@dataclass(frozen=True)
class Tagged:
    """A trained tagger, its vocabulary, its dev measures in percent, and the CPU seconds of its training."""

    network: Tagger
    vocabulary: Vocabulary
    measures: dict[str, float]
    cpu_s: float


def tagger_recipe(dataset: str, seed: int = 1, vectors: str = "", **network: Any) -> Recipe:
    """A tagging recipe with the given network settings."""
    values = {
        "name": "experiment",
        "task": "tagging",
        "seed": seed,
        "data": {"dataset": dataset},
        "tokenizer": {"vectors": vectors, "max_vectors": MAX_VECTORS},
        "network": network,
        "training": {"batch_size": 16},
    }
    return parse_recipe(values, "experiment")


@cache
def corpus(dataset: str, num_train: int, num_dev: int) -> Corpus:
    """`num_train` sentences of train and `num_dev` of dev."""
    data = load_data(TASKS["tagging"], tagger_recipe(dataset))
    train, dev = ([r for r in part if isinstance(r, TaggedSentence)] for part in (data.train, data.dev))
    chosen = np.random.default_rng(1).permutation(len(train))[:num_train]
    return Corpus([train[i] for i in sorted(chosen)], dev[:num_dev])


@cache
def _vectors() -> WordVectors:
    return load_vectors(VECTORS)


def train_tagger(recipe: Recipe, sentences: Corpus, epochs: int, learning_rate: float) -> Tagged:
    """Train a tagger, and score it on dev with the service's decoding."""
    vectors = _vectors() if recipe.tokenizer.vectors else None
    vocabulary = tagging_vocabulary(recipe.tokenizer, sentences.train, vectors)
    data = TASKS["tagging"].training_set(recipe, vocabulary, sentences.train)
    with seeded(recipe.seed):
        network = build_network(TASKS["tagging"], recipe, vocabulary)
        assert isinstance(network, Tagger)
        orders = [order for epoch in range(epochs) for order in data.epoch(epoch)]

        def loss_of(step: int) -> Tensor:
            batch = data.batch(orders[step])
            assert isinstance(batch, TaggingBatch)
            return network.loss(batch)[0]

        history = fit(network, loss_of, Budget(len(orders), learning_rate))
    measures = DevScorer(TASKS["tagging"], recipe, vocabulary, sentences.dev)(network).measures
    return Tagged(network, vocabulary, measures, history.cpu_s)
