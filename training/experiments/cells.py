"""LSTM, GRU and Elman cells on characters, at equal width and at an equal number of parameters."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.config.networks import Cell
from training.evaluation.baselines.generation import ngram_model
from training.experiments.harness.fitting import Budget, fit, seeded
from training.experiments.harness.outcome import Experiment, Line, Outcome, Panel, Row, Table, Tell, mean, spread
from training.experiments.harness.text import Text, WindowLoss, character_recipe, dev_loss, shakespeare
from training.networks.build import build_network
from training.networks.language_model import LanguageModel
from training.networks.network import Network
from training.tasks.catalogue import training_task

LABELS: dict[Cell, str] = {"lstm": "LSTM", "gru": "GRU", "rnn": "Elman"}
#: The number of gates and candidates of each cell.
NUM_BLOCKS: dict[Cell, int] = {"lstm": 4, "gru": 3, "rnn": 1}
EMBEDDING = 32


@dataclass(frozen=True)
class Settings:
    """`hidden` is the width of the LSTM; the other cells get the same width, then the same number of parameters."""

    hidden: int = 96
    seeds: int = 1
    num_steps: int = 1500
    checks: int = 3
    window: int = 48
    streams: int = 32
    learning_rate: float = 0.004
    timed_steps: int = 20
    max_characters: int = 0


@dataclass(frozen=True)
class SizedCell:
    """A cell with a width."""

    label: str
    cell: Cell
    hidden: int


def recurrent_parameters(cell: Cell, input_size: int, hidden: int) -> int:
    """Parameters of one layer: for each gate or candidate two matrices and, as in torch, two biases."""
    return NUM_BLOCKS[cell] * hidden * (input_size + hidden + 2)


def width_for(cell: Cell, input_size: int, wanted: int) -> int:
    """The width at which the number of parameters is closest to `wanted`."""
    widths = range(1, 4 * wanted)
    beyond = next(width for width in widths if recurrent_parameters(cell, input_size, width) >= wanted)
    return min((beyond - 1, beyond), key=lambda width: abs(recurrent_parameters(cell, input_size, width) - wanted))


def sized_cells(hidden: int) -> list[SizedCell]:
    """Three cells of equal width, then GRU and Elman with as many parameters as the LSTM."""
    wanted = recurrent_parameters("lstm", EMBEDDING, hidden)
    equal_width = [SizedCell(f"{label} {hidden}", cell, hidden) for cell, label in LABELS.items()]
    grown: list[tuple[Cell, int]] = [(cell, width_for(cell, EMBEDDING, wanted)) for cell in ("gru", "rnn")]
    return equal_width + [SizedCell(f"{LABELS[cell]} {width}", cell, width) for cell, width in grown]


@dataclass(frozen=True)
class _Training:
    losses: list[float]
    steps: list[int]
    update_s: float


def _train(each: SizedCell, seed: int, settings: Settings, text: Text) -> _Training:
    """Dev loss at regular checks, and CPU seconds of one update."""
    network, loss_of = _prepare(each, seed, settings, text)
    losses, steps = [], []
    part = settings.num_steps // settings.checks

    def note(step: int) -> bool:
        if (step + 1) % part == 0:
            steps.append(step + 1)
            losses.append(dev_loss(network, text))
        return False

    fit(network, loss_of, Budget(settings.num_steps, settings.learning_rate), note)
    return _Training(losses, steps, _seconds_of_update(network, loss_of, settings.timed_steps))


def _prepare(each: SizedCell, seed: int, settings: Settings, text: Text) -> tuple[Network, Callable[[int], Tensor]]:
    recipe = character_recipe(
        seed, settings.window, settings.streams, cell=each.cell, hidden_size=each.hidden, embedding_size=EMBEDDING
    )
    with seeded(seed):
        network = build_network(training_task(recipe), recipe, text.vocabulary)
    return network, WindowLoss(network, recipe, text)


def _seconds_of_update(network: nn.Module, loss_of: Callable[[int], Tensor], num_steps: int) -> float:
    return fit(network, loss_of, Budget(num_steps, 0.0)).cpu_s / num_steps


def _plain_seconds_of_update(each: SizedCell, settings: Settings, text: Text) -> float:
    """`_seconds_of_update` without oneDNN, which only has a kernel for the LSTM."""
    network, loss_of = _prepare(each, 1, settings, text)
    was_enabled, *_ = torch.backends.mkldnn.set_flags(False)
    try:
        return _seconds_of_update(network, loss_of, settings.timed_steps)
    finally:
        torch.backends.mkldnn.set_flags(was_enabled)


@torch.no_grad()
def _step_us(each: SizedCell, settings: Settings, text: Text) -> float:
    """Microseconds per step for a single sequence, as in generation."""
    network, _ = _prepare(each, 1, settings, text)
    assert isinstance(network, LanguageModel)
    network.eval()
    token, state = torch.tensor([4]), network.zero_state(1, torch.device("cpu"))
    started = time.process_time()
    for _ in range(10 * settings.timed_steps):
        _, state = network.step(token, state)
    return 1e6 * (time.process_time() - started) / (10 * settings.timed_steps)


def run(settings: Settings, tell: Tell) -> Outcome:
    """Train every cell and width with every seed, and compare with an n-gram model."""
    text = shakespeare(settings.max_characters)
    baseline = ngram_model(text.train, text.dev)
    of_lstm = recurrent_parameters("lstm", EMBEDDING, settings.hidden)
    rows: list[Row] = []
    lines = []
    for each in sized_cells(settings.hidden):
        trainings = [_train(each, seed, settings, text) for seed in range(1, settings.seeds + 1)]
        finals = [training.losses[-1] for training in trainings]
        parameters = recurrent_parameters(each.cell, EMBEDDING, each.hidden)
        times = (mean([c.update_s for c in trainings]), _plain_seconds_of_update(each, settings, text))
        milliseconds = [1000 * seconds for seconds in times]
        step_us = _step_us(each, settings, text)
        rows.append(
            (each.label, parameters, parameters / of_lstm, mean(finals), spread(finals), *milliseconds, step_us)
        )
        means = [mean(values) for values in zip(*(training.losses for training in trainings), strict=True)]
        lines.append(Line(each.label, trainings[0].steps, means))
        tell(f"{each.label}: {finals}")
    rows.append((baseline.name, None, None, baseline.measures["loss"], None, None, None, None))
    columns = {"cell and width": "", "parameters of the layer": ",d", "to the LSTM's": ".3f", "dev loss, nats": ".3f"}
    columns |= {"±": ".3f", "ms an update": ".1f", "ms, plain kernels": ".1f", "µs a step of one text": ".0f"}
    levels = {baseline.name: baseline.measures["loss"]}
    panel = Panel("Characters of tiny_shakespeare", "updates", "dev loss, nats a character", lines, levels=levels)
    return Outcome([Table(columns, rows)], [panel])


CELLS = Experiment(
    "cells",
    "Is a GRU as good as an LSTM, and quicker, at equal width and at equal parameters?",
    Settings(),
    Settings(hidden=8, seeds=1, num_steps=4, checks=2, window=8, streams=4, timed_steps=2, max_characters=2000),
    run,
)
