"""Vanishing and exploding gradients: gradient norms by lag, before and after training."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.config.networks import Cell
from training.experiments.adding import adding_batch, adding_loss
from training.experiments.harness.fitting import Budget, fit, seeded
from training.experiments.harness.outcome import Experiment, Line, Outcome, Panel, Row, Table, Tell
from training.experiments.harness.probe import Probe
from training.networks.layers.cells import State, run_recurrence, state_names
from training.networks.layers.recurrent import RecurrentLayer

#: For each network its cell, the spectral radius of its recurrent matrix, and its forget bias.
NETWORKS: dict[str, tuple[Cell, float, float]] = {
    "Elman, radius 0.9": ("rnn", 0.9, 0.0),
    "Elman, radius 1.0": ("rnn", 1.0, 0.0),
    "Elman, radius 1.1": ("rnn", 1.1, 0.0),
    "GRU": ("gru", 1.0, 0.0),
    "LSTM, forget bias 0": ("lstm", 1.0, 0.0),
    "LSTM, forget bias 1": ("lstm", 1.0, 1.0),
}

#: Draw every second lag only, which halves the size of the figure.
DRAWN_LAGS = 2


@dataclass(frozen=True)
class Settings:
    """Networks are trained on the adding problem, on sequences of `length`."""

    length: int = 100
    hidden: int = 64
    batch: int = 32
    num_steps: int = 400
    learning_rate: float = 0.01
    shown_lags: tuple[int, ...] = (1, 10, 25, 50, 100)


def gradient_norms(network: Probe, cell: Cell, inputs: Tensor, generator: torch.Generator) -> list[float]:
    """Norm of the gradient of the last hidden state, in a random direction, at the states 0, 1, 2 ... steps earlier.

    The state of an LSTM is hidden and cell state together. The norm at lag 0 is 1. Norms are averaged over the batch by
    their root mean square.
    """
    layer = network.encoder.layers[0]
    assert isinstance(layer, RecurrentLayer)
    width = layer.output_size
    state: State = tuple(torch.zeros(1, inputs.shape[0], width, requires_grad=True) for _ in state_names(cell))
    states = [state]
    for step in range(inputs.shape[1]):
        _, state = run_recurrence(layer.forward_rnn, inputs[:, step : step + 1], state)
        states.append(state)
    direction = torch.randn(inputs.shape[0], width, generator=generator)
    direction = direction / direction.norm(dim=1, keepdim=True)
    gradients = torch.autograd.grad(
        (state[0][0] * direction).sum(), [part for each in states for part in each], allow_unused=True
    )
    parts = len(state_names(cell))
    norms = [_norm(gradients[i : i + parts]) for i in range(0, len(gradients), parts)]
    return norms[::-1]


def _norm(parts: tuple[Tensor | None, ...]) -> float:
    """Root mean square over the batch of the norm of all parts together; parts without gradient count as 0."""
    squares = [part.square().sum(dim=2).mean() for part in parts if part is not None]
    return float(torch.stack(squares).sum().sqrt())


def radius_probe(name: str, hidden: int) -> Probe:
    """A network whose recurrent matrix, initially orthogonal, is scaled to the spectral radius of `NETWORKS`."""
    cell, radius, forget_bias = NETWORKS[name]
    network = Probe(cell, nn.Identity(), 2, hidden, 1, forget_bias=forget_bias)
    with torch.no_grad():
        for parameter_name, parameter in network.encoder.named_parameters():
            if "weight_hh" in parameter_name:
                parameter.mul_(radius)
    return network


def _before_and_after(name: str, settings: Settings) -> tuple[list[float], list[float], float]:
    """Norms by lag before and after training, and the mean loss of the last updates."""
    cell = NETWORKS[name][0]
    with seeded(1) as generator:
        network = radius_probe(name, settings.hidden)
        inputs, _ = adding_batch(settings.batch, settings.length, generator)
        before = gradient_norms(network, cell, inputs, generator)
        budget = Budget(settings.num_steps, settings.learning_rate)
        history = fit(network, lambda _step: adding_loss(network, settings.batch, settings.length, generator), budget)
        after = gradient_norms(network, cell, inputs, generator)
    last = history.losses[-50:]
    return before, after, sum(last) / len(last)


def run(settings: Settings, tell: Tell) -> Outcome:
    """Measure every network before and after training."""
    rows: list[Row] = []
    lines: tuple[list[Line], list[Line]] = ([], [])
    lags = range(0, settings.length + 1, DRAWN_LAGS)
    for name in NETWORKS:
        before, after, error = _before_and_after(name, settings)
        for into, norms in zip(lines, (before, after), strict=True):
            into.append(Line(name, lags, norms[::DRAWN_LAGS]))
        rows.append((name, *(norms[lag] for norms in (before, after) for lag in settings.shown_lags), error))
        tell(f"{name}: {before[-1]:.2g} before, {after[-1]:.2g} after, error {error:.4f}")
    headings = [f"{lag} {when}" for when in ("at start", "trained") for lag in settings.shown_lags]
    columns = {"network": ""} | dict.fromkeys(headings, ".1e") | {"squared error": ".4f"}
    panels = [
        Panel(title, "lag, steps", "norm of the gradient, 1 at lag 0", into, log_y=True, y_limits=(1e-9, 1e2))
        for title, into in zip(("At the start", "After training"), lines, strict=True)
    ]
    title = "Norm of the gradient at lags of so many steps, at the start of training and at its end"
    return Outcome([Table(columns, rows, title)], panels)


GRADIENTS = Experiment(
    "gradients",
    "How fast do gradients vanish or explode, and does training change it?",
    Settings(),
    Settings(length=8, hidden=6, batch=4, num_steps=4, shown_lags=(1, 8)),
    run,
)
