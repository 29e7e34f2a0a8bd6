"""The copy memory task (Hochreiter and Schmidhuber 1997; Arjovsky et al. 2016): repeat symbols after a pause."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.experiments.harness.fitting import Budget, fit, seeded
from training.experiments.harness.outcome import Experiment, Line, Outcome, Panel, Row, Table, Tell, mean, spread
from training.experiments.harness.probe import CELLS_OF, Probe, ProbeName

NUM_SYMBOLS = 8
BLANK, GO = 8, 9


@dataclass(frozen=True)
class Settings:
    """A lag is the number of steps between the last symbol and the signal to repeat them."""

    lags: tuple[int, ...] = (5, 10, 20, 50, 100)
    recall: int = 5
    seeds: int = 2
    hidden: int = 64
    batch: int = 32
    num_steps: int = 2000
    learning_rate: float = 0.006


def copy_batch(batch: int, recall: int, lag: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Inputs and targets `[batch, lag + 2 recall]`: symbols, blanks, the signal, blanks; blanks, then the symbols."""
    symbols = torch.randint(0, NUM_SYMBOLS, (batch, recall), generator=generator)
    inputs = torch.full((batch, lag + 2 * recall), BLANK)
    inputs[:, :recall] = symbols
    inputs[:, -recall - 1] = GO
    targets = torch.full_like(inputs, BLANK)
    targets[:, -recall:] = symbols
    return inputs, targets


def blind_loss(recall: int, lag: int) -> float:
    """Loss in nats per step of a network that guesses the symbols but knows when to output them."""
    return recall * math.log(NUM_SYMBOLS) / (lag + 2 * recall)


def _measure(name: ProbeName, lag: int, seed: int, settings: Settings) -> tuple[float, float]:
    """Loss over all steps, and percentage of symbols recalled, on 500 new sequences."""
    cell, forget_bias = CELLS_OF[name]
    with seeded(seed) as generator:
        embedding = nn.Embedding(GO + 1, GO + 1)
        network = Probe(cell, embedding, GO + 1, settings.hidden, BLANK + 1, forget_bias=forget_bias)

        def loss_of(_step: int) -> Tensor:
            inputs, targets = copy_batch(settings.batch, settings.recall, lag, generator)
            return F.cross_entropy(network(inputs).flatten(0, 1), targets.flatten())

        fit(network, loss_of, Budget(settings.num_steps, settings.learning_rate))
        with torch.no_grad():
            inputs, targets = copy_batch(500, settings.recall, lag, generator)
            logits = network(inputs)
            loss = float(F.cross_entropy(logits.flatten(0, 1), targets.flatten()))
            right = logits[:, -settings.recall :].argmax(dim=2) == targets[:, -settings.recall :]
    return loss, 100 * float(right.float().mean())


def run(settings: Settings, tell: Tell) -> Outcome:
    """Train every cell at every lag with every seed."""
    rows: list[Row] = []
    lines = []
    for name in CELLS_OF:
        recalls, spreads = [], []
        for lag in settings.lags:
            measured = [_measure(name, lag, seed, settings) for seed in range(1, settings.seeds + 1)]
            loss, recalled = mean([each[0] for each in measured]), [each[1] for each in measured]
            recalls.append(mean(recalled))
            spreads.append(spread(recalled))
            rows.append((name, lag, loss, blind_loss(settings.recall, lag), recalls[-1], spreads[-1]))
            tell(f"{name}, lag {lag}: {recalls[-1]:.1f} % recalled")
        lines.append(Line(name, settings.lags, recalls, spreads))
    columns = {"cell": "", "lag, steps": "d", "loss, nats a step": ".4f", "loss of guessing": ".4f"}
    table = Table(columns | {"symbols recalled, %": ".1f", "±": ".1f"}, rows)
    guessing = {"guessing": 100 / NUM_SYMBOLS}
    panel = Panel("Copy memory", "pause, steps", "symbols recalled, %", lines, levels=guessing, log_x=True)
    return Outcome([table], [panel])


COPY_MEMORY = Experiment(
    "copy-memory",
    "Which cells can repeat five symbols after a pause?",
    Settings(),
    Settings(lags=(1, 3), seeds=1, hidden=8, batch=8, num_steps=10),
    run,
)
