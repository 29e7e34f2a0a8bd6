"""Gradient clipping (Pascanu et al. 2013): how often training diverges without it, and at which loss it ends."""

from __future__ import annotations

import math
from dataclasses import dataclass

from training.experiments.harness.fitting import Budget, fit, seeded
from training.experiments.harness.outcome import Experiment, Line, Outcome, Panel, Row, Table, Tell, mean
from training.experiments.harness.text import Text, WindowLoss, character_recipe, shakespeare
from training.networks.build import build_network
from training.tasks.catalogue import training_task

OFF = math.inf


@dataclass(frozen=True)
class Settings:
    """Plain gradient descent on an Elman network, because Adam also limits the size of a step."""

    clip_norms: tuple[float, ...] = (OFF, 5.0, 1.0, 0.25)
    learning_rates: tuple[float, ...] = (1.0, 4.0, 8.0, 16.0)
    seeds: int = 5
    hidden: int = 32
    window: int = 48
    streams: int = 8
    num_steps: int = 200
    max_characters: int = 200_000


@dataclass(frozen=True)
class _Run:
    loss: float
    broken: bool
    largest_norm: float


def _train(clip_norm: float, learning_rate: float, seed: int, settings: Settings, text: Text) -> _Run:
    """Mean loss of the last tenth of the updates. A run is broken if it ends no better than uniform guessing."""
    recipe = character_recipe(seed, settings.window, settings.streams, cell="rnn", hidden_size=settings.hidden)
    with seeded(seed):
        network = build_network(training_task(recipe), recipe, text.vocabulary)
    budget = Budget(settings.num_steps, learning_rate, clip_norm, "sgd")
    history = fit(network, WindowLoss(network, recipe, text), budget)
    loss = mean(history.losses[-max(1, settings.num_steps // 10) :])
    broken = history.diverged or loss > math.log(text.vocabulary.size("text"))
    return _Run(loss, broken, max(history.norms))


def run(settings: Settings, tell: Tell) -> Outcome:
    """Train with every threshold, learning rate and seed."""
    text = shakespeare(settings.max_characters)
    rows: list[Row] = []
    losses: list[Line] = []
    breaks: list[Line] = []
    for clip_norm in settings.clip_norms:
        label = "no clipping" if clip_norm == OFF else f"clipped at {clip_norm:g}"
        ends, shares = [], []
        for rate in settings.learning_rates:
            runs = [_train(clip_norm, rate, seed, settings, text) for seed in range(1, settings.seeds + 1)]
            whole = [each.loss for each in runs if not each.broken]
            num_broken = len(runs) - len(whole)
            ends.append(mean(whole))
            shares.append(100 * num_broken / len(runs))
            norm = max(each.largest_norm for each in runs)
            rows.append((label, rate, f"{num_broken} of {len(runs)}", ends[-1], norm))
            tell(f"{label}, rate {rate}: {num_broken} broken, loss {ends[-1]:.3f}, norm {norm:.3g}")
        losses.append(Line(label, settings.learning_rates, ends))
        breaks.append(Line(label, settings.learning_rates, shares))
    columns = {"threshold": "", "learning rate": "g", "runs broken": "", "loss of the others, nats": ".3f"}
    panels = [
        Panel("How often training breaks", "learning rate", "runs broken, %", breaks, log_x=True, y_limits=(-5, 105)),
        Panel("Loss of the runs that did not", "learning rate", "loss, nats a character", losses, log_x=True),
    ]
    return Outcome([Table(columns | {"largest gradient norm": ".3g"}, rows)], panels)


CLIPPING = Experiment(
    "clipping",
    "What does clipping gradients save, and from what?",
    Settings(),
    Settings(
        clip_norms=(OFF, 1.0), learning_rates=(0.5,), seeds=1, hidden=8, window=8, streams=4, num_steps=5,
        max_characters=2000,
    ),
    run,
)  # fmt: skip
