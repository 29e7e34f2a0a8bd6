"""Trains small speech recognisers on connected digits, and decodes them as the service does."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.tasks.transcription.decoder import Decoder, Token
from service.tasks.transcription.greedy_ctc import GreedyCtc
from service.tasks.transcription.greedy_transducer import GreedyTransducer
from training.config.recipe import Recipe, parse_recipe
from training.data.records import Utterance
from training.evaluation.speech.cepstra import HOP_S
from training.evaluation.speech.error_rates import error_rates
from training.evaluation.torch_runner import TorchRunner, evaluating
from training.experiments.harness.digits import DATASET
from training.experiments.harness.fitting import Budget, Fit, fit, seeded
from training.networks.build import build_network
from training.networks.network import Network
from training.networks.transcriber import Transcriber
from training.networks.transducer import Transducer
from training.preprocessing.vocabulary import Vocabulary
from training.tasks.catalogue import TASKS

#: What the encoder gives of an utterance, `[steps, width]`.
Rows = NDArray[np.float32]


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
    """Train for `budget` updates; `look` is called before each of them, in evaluation mode if it wants."""
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
def outputs_of(recogniser: Recogniser, utterances: Sequence[Utterance]) -> list[Rows]:
    """What the decoder reads of each utterance: log-probabilities `[steps, tokens]`, or a transducer's vectors."""
    network, found = recogniser.network, list[Rows]()
    assert isinstance(network, Transcriber | Transducer)
    with evaluating(network):
        for each in utterances:
            frames = torch.from_numpy(each.values)[None]
            encoded = network.speech(frames, torch.tensor([frames.shape[1]])).values
            if isinstance(network, Transducer):
                found.append(network.projection(encoded)[0].numpy())
            else:
                found.append(torch.log_softmax(network.output(encoded), dim=2)[0].numpy())
    return found


def greedy_decoder(recogniser: Recogniser) -> Decoder[Any]:
    """The service's decoder for the network."""
    network, size = recogniser.network, recogniser.vocabulary.size("text")
    if not isinstance(network, Transducer):
        return GreedyCtc(size)
    predictor = network.graphs()["predictor"].spec("predictor.onnx")
    return GreedyTransducer(predictor, size, network.config.max_symbols_per_step)


def decoded(decoder: Decoder[Any], network: Network, rows: Sequence[Rows]) -> list[tuple[Token, ...]]:
    """The tokens of each utterance, from what `outputs_of` gave of it; `network` has the graphs that a decoder runs."""
    begun = [decoder.start() for _ in rows]
    ended = decoder.advance(TorchRunner(network), begun, rows)
    return [decoder.best(hypotheses, is_final=True).tokens for hypotheses in ended]


def rates(recogniser: Recogniser, said: Sequence[Utterance], heard: Sequence[Sequence[Token]]) -> dict[str, float]:
    """Error rates of decoded tokens, in percent."""
    decode = recogniser.vocabulary.tokenizers["text"].decode
    texts = [decode([token.token_id for token in tokens]) for tokens in heard]
    return error_rates([each.text for each in said], texts)


def greedy_tokens(recogniser: Recogniser, utterances: Sequence[Utterance]) -> list[tuple[Token, ...]]:
    """What is heard in each utterance by greedy decoding."""
    return decoded(greedy_decoder(recogniser), recogniser.network, outputs_of(recogniser, utterances))


def greedy_rates(recogniser: Recogniser, utterances: Sequence[Utterance]) -> dict[str, float]:
    """Error rates of greedy decoding, in percent."""
    return rates(recogniser, utterances, greedy_tokens(recogniser, utterances))


def timed_tokens(recogniser: Recogniser, utterances: Sequence[Utterance]) -> tuple[list[tuple[Token, ...]], float]:
    """What is heard by greedy decoding of one utterance after the other, and the real-time factor.

    The factor is seconds of one core for a second of sound, in torch, from frames to tokens.
    """
    started = time.process_time()
    heard = [tokens for each in utterances for tokens in greedy_tokens(recogniser, [each])]
    return heard, (time.process_time() - started) / (HOP_S * sum(len(each.values) for each in utterances))
