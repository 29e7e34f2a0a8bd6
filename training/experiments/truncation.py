"""Truncated backpropagation through time: cost and quality by window length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from training.evaluation.baselines.generation import ngram_model
from training.experiments.harness.fitting import Budget, fit, seeded
from training.experiments.harness.outcome import Experiment, Line, Outcome, Panel, Table, Tell, mean, spread
from training.experiments.harness.text import Text, WindowLoss, character_recipe, dev_loss, shakespeare
from training.networks.build import build_network
from training.tasks.catalogue import training_task


@dataclass(frozen=True)
class Settings:
    """Each update has `characters` characters in windows; a shorter window means more parallel streams.

    All networks therefore get the same characters and updates, and differ only in how far gradients reach: the state
    is carried over to the next window, the gradient is not.
    """

    windows: tuple[int, ...] = (2, 5, 10, 20, 40, 80)
    characters: int = 1280
    hidden: int = 96
    seeds: int = 1
    num_steps: int = 500
    learning_rate: float = 0.004
    timed_windows: tuple[int, ...] = (16, 32, 64, 128, 256, 512, 1024)
    timed_streams: int = 8
    timed_steps: int = 10
    max_characters: int = 0


def _quality(window: int, seed: int, settings: Settings, text: Text) -> float:
    """Dev loss after training with gradients through at most `window` steps."""
    streams = settings.characters // window
    recipe = character_recipe(seed, window, streams, hidden_size=settings.hidden)
    with seeded(seed):
        network = build_network(training_task(recipe), recipe, text.vocabulary)
    fit(network, WindowLoss(network, recipe, text), Budget(settings.num_steps, settings.learning_rate))
    return dev_loss(network, text)


def _cost(window: int, settings: Settings, text: Text) -> tuple[float, float]:
    """Milliseconds of an update, and mebibytes saved for the backward pass, with `timed_streams` windows."""
    recipe = character_recipe(1, window, settings.timed_streams, hidden_size=settings.hidden)
    with seeded(1):
        network = build_network(training_task(recipe), recipe, text.vocabulary)
    loss_of = WindowLoss(network, recipe, text)
    history = fit(network, loss_of, Budget(settings.timed_steps, 0.0))
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Any:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss_of(0)
    return 1000 * history.cpu_s / history.num_steps, sum(kept.values()) / 2**20


def run(settings: Settings, tell: Tell) -> Outcome:
    """Measure cost by window length, then quality by window length."""
    text = shakespeare(settings.max_characters)
    baseline = ngram_model(text.train, text.dev)
    costs = []
    for window in settings.timed_windows:
        costs.append((window, *_cost(window, settings, text)))
        tell(f"window {window}: {costs[-1][1]:.1f} ms, {costs[-1][2]:.1f} MiB")
    rows = []
    for window in settings.windows:
        losses = [_quality(window, seed, settings, text) for seed in range(1, settings.seeds + 1)]
        rows.append((window, settings.characters // window, mean(losses), spread(losses)))
        tell(f"window {window}: {losses}")
    quality = Line("LSTM", settings.windows, [row[2] for row in rows], [row[3] for row in rows])
    windows = [cost[0] for cost in costs]
    times = Line("one update, ms", windows, [cost[1] for cost in costs])
    memory = Line("kept for the way back, MiB", windows, [cost[2] for cost in costs])
    levels = {baseline.name: baseline.measures["loss"]}
    x_label = "window, characters"
    panels = [
        Panel(
            "Quality, equally many updates", x_label, "dev loss, nats a character", [quality], levels=levels, log_x=True
        ),
        Panel(
            f"Cost of {settings.timed_streams} streams", x_label, "ms, or MiB", [times, memory], log_x=True, log_y=True
        ),
    ]
    cost_columns = {"window, characters": "d", "ms an update": ".1f", "MiB kept": ".1f"}
    columns = {"window, characters": "d", "streams": "d", "dev loss, nats": ".3f", "±": ".3f"}
    compared = f"Quality; the {baseline.name} has {baseline.measures['loss']:.3f}"
    return Outcome([Table(columns, list(rows), compared), Table(cost_columns, list(costs), "Cost")], panels)


TRUNCATION = Experiment(
    "truncation",
    "What does backpropagation through more steps cost, and what does it bring?",
    Settings(),
    Settings(
        windows=(2, 4), characters=32, hidden=8, seeds=1, num_steps=4, timed_windows=(4, 8), timed_streams=4,
        timed_steps=1, max_characters=2000,
    ),
    run,
)  # fmt: skip
