"""Trains small speech recognisers on connected digits, and reads what they give, step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.tasks.transcription.decoder import BLANK
from training.config.recipe import Recipe, parse_recipe
from training.data.records import Utterance
from training.evaluation.speech.cepstra import HOP_S
from training.evaluation.speech.error_rates import error_rates
from training.evaluation.torch_runner import evaluating
from training.experiments.harness.digits import DATASET
from training.experiments.harness.fitting import Budget, Fit, fit, seeded
from training.networks.build import build_network
from training.networks.network import Network
from training.networks.transcriber import Transcriber
from training.preprocessing.vocabulary import Vocabulary
from training.tasks.catalogue import TASKS


@dataclass(frozen=True)
class Recogniser:
    """A trained network with its vocabulary; `step_s` is the duration of an output step."""

    network: Network
    recipe: Recipe
    vocabulary: Vocabulary
    history: Fit
    step_s: float


def speech_recipe(seed: int, unit: str, halvings: int = 2, width: int = 32, **network: Any) -> Recipe:
    """Steps of 10 ms, halved in number by each of `halvings` convolutions; no dropout, as runs are short."""
    values = {
        "name": "experiment",
        "task": "transcription",
        "seed": seed,
        "data": {"dataset": DATASET},
        "tokenizer": {"unit": unit},
        "signal": {"kind": "frames", "channels": [width] * halvings, "running_mean": True},
        "network": {"layers": 1, "dropout": 0.0, **network},
        "training": {"batch_size": 16},
    }
    return parse_recipe(values, "experiment")


def train_recogniser(
    recipe: Recipe,
    train: Sequence[Utterance],
    budget: Budget,
    look: Callable[[int, Recogniser], None] = lambda _step, _recogniser: None,
) -> Recogniser:
    """Train with CTC for `budget` updates; `look` is called before each of them, in evaluation mode if it wants."""
    task = TASKS["transcription"]
    vocabulary = task.fit_vocabulary(recipe, train)
    data = task.training_set(recipe, vocabulary, train)
    with seeded(recipe.seed):
        network = build_network(task, recipe, vocabulary)
        num_epochs = budget.num_steps // len(data.epoch(0)) + 1
        orders = [order for epoch in range(num_epochs) for order in data.epoch(epoch)]
        begun = _recogniser(network, recipe, vocabulary, Fit())

        def loss_of(step: int) -> Tensor:
            look(step, begun)
            return network.loss(data.batch(orders[step]))[0]

        history = fit(network, loss_of, budget)
    return _recogniser(network, recipe, vocabulary, history)


def _recogniser(network: Network, recipe: Recipe, vocabulary: Vocabulary, history: Fit) -> Recogniser:
    step_s = HOP_S * recipe.signal.values_per_step
    return Recogniser(network, recipe, vocabulary, history, step_s)


@torch.no_grad()
def log_probs(recogniser: Recogniser, utterances: Sequence[Utterance]) -> list[NDArray[np.float32]]:
    """`[steps, tokens]` that CTC gives of each utterance, in order."""
    network = recogniser.network
    assert isinstance(network, Transcriber), "a transducer gives no log-probabilities by step"
    found: list[NDArray[np.float32]] = []
    with evaluating(network):
        for each in utterances:
            frames = torch.from_numpy(each.values)[None]
            encoded = network.speech(frames, torch.tensor([frames.shape[1]]))
            found.append(torch.log_softmax(network.output(encoded.values), dim=2)[0].numpy())
    return found


def best_path(row: NDArray[np.float32]) -> list[tuple[int, int]]:
    """Token and first step of each run of the best path, without blanks (Graves et al. 2006)."""
    ids = row.argmax(axis=1)
    starts = np.flatnonzero(np.diff(ids, prepend=-1))
    return [(int(ids[step]), int(step)) for step in starts if ids[step] != BLANK]


def text_of(recogniser: Recogniser, tokens: Sequence[int]) -> str:
    """The text of tokens."""
    return recogniser.vocabulary.tokenizers["text"].decode(list(tokens))


def greedy_rates(recogniser: Recogniser, utterances: Sequence[Utterance]) -> dict[str, float]:
    """Error rates of the best path, in percent."""
    rows = log_probs(recogniser, utterances)
    heard = [text_of(recogniser, [token for token, _ in best_path(row)]) for row in rows]
    return error_rates([each.text for each in utterances], heard)
