"""The adding problem (Hochreiter and Schmidhuber 1997): the sum of the two marked numbers of a sequence."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.experiments.harness.fitting import Budget, fit, seeded
from training.experiments.harness.outcome import Experiment, Line, Outcome, Panel, Row, Table, Tell, mean
from training.experiments.harness.probe import CELLS_OF, Probe, ProbeName

#: Variance of the sum of two uniform numbers in 0 to 1: the error of the constant answer 1.
BLIND_ERROR = 1 / 6
SOLVED_ERROR = 0.01


@dataclass(frozen=True)
class Settings:
    """Lags are sequence lengths; one mark is in the first half of a sequence, the other in the second."""

    lags: tuple[int, ...] = (50, 100, 200)
    seeds: int = 1
    hidden: int = 32
    batch: int = 32
    max_steps: int = 1200
    learning_rate: float = 0.01


def adding_batch(batch: int, length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """`[batch, length, 2]` of (number, mark), and `[batch]` of the sums of the two marked numbers."""
    numbers = torch.rand(batch, length, generator=generator)
    half = length // 2
    first = torch.randint(0, half, (batch, 1), generator=generator)
    second = torch.randint(half, length, (batch, 1), generator=generator)
    marks = torch.zeros(batch, length).scatter_(1, torch.cat([first, second], dim=1), 1.0)
    return torch.stack([numbers, marks], dim=2), (numbers * marks).sum(dim=1)


def adding_probe(name: ProbeName, hidden: int) -> Probe:
    """A network whose answer is the output after the last pair."""
    cell, forget_bias = CELLS_OF[name]
    return Probe(cell, nn.Identity(), 2, hidden, 1, forget_bias=forget_bias)


def adding_loss(network: Probe, batch: int, length: int, generator: torch.Generator) -> Tensor:
    """Mean squared error on a new batch."""
    inputs, sums = adding_batch(batch, length, generator)
    return F.mse_loss(network(inputs)[:, -1, 0], sums)


@dataclass(frozen=True)
class _Run:
    error: float
    num_steps: int
    cpu_s: float


def _solve(name: ProbeName, lag: int, seed: int, settings: Settings) -> _Run:
    """Train until solved or out of budget; the error is measured on 500 new sequences."""
    with seeded(seed) as generator:
        network = adding_probe(name, settings.hidden)
        recent: list[float] = []

        def loss_of(_step: int) -> Tensor:
            loss = adding_loss(network, settings.batch, lag, generator)
            recent.append(float(loss.detach()))
            return loss

        def is_solved(_step: int) -> bool:
            return len(recent) >= 50 and mean(recent[-50:]) < SOLVED_ERROR / 2

        history = fit(network, loss_of, Budget(settings.max_steps, settings.learning_rate), is_solved)
        with torch.no_grad():
            error = float(adding_loss(network, 500, lag, generator))
    return _Run(error, history.num_steps, history.cpu_s)


def run(settings: Settings, tell: Tell) -> Outcome:
    """Train every cell at every lag with every seed."""
    rows: list[Row] = []
    lines = []
    for name in CELLS_OF:
        errors = []
        for lag in settings.lags:
            runs = [_solve(name, lag, seed, settings) for seed in range(1, settings.seeds + 1)]
            solved = [each for each in runs if each.error < SOLVED_ERROR]
            errors.append(mean([each.error for each in runs]))
            steps = mean([each.num_steps for each in solved])
            rows.append((name, lag, errors[-1], f"{len(solved)} of {len(runs)}", steps, mean([r.cpu_s for r in runs])))
            tell(f"{name}, lag {lag}: error {errors[-1]:.4f}, solved {len(solved)} of {len(runs)}")
        lines.append(Line(name, settings.lags, errors))
    columns = {"cell": "", "lag, steps": "d", "squared error": ".4f", "solved": "", "updates until solved": ".0f"}
    panel = Panel(
        "Adding problem",
        "length of the sequence, steps",
        "mean squared error on new sequences",
        lines,
        levels={"always answering 1": BLIND_ERROR, "solved": SOLVED_ERROR},
        log_x=True,
        log_y=True,
    )
    return Outcome([Table(columns | {"seconds a run": ".1f"}, rows)], [panel])


ADDING = Experiment(
    "adding",
    "Which cells can add two numbers that stand far apart?",
    Settings(),
    Settings(lags=(6, 10), seeds=1, hidden=8, batch=8, max_steps=10),
    run,
)
