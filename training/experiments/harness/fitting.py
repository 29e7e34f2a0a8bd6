"""A training loop for small networks that records loss and gradient norm of every update."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

#: A loss above this counts as diverged, as in the trainer.
MAX_LOSS = 1000.0


@dataclass(frozen=True)
class Budget:
    """Number of updates and optimizer settings. An infinite `clip_norm` means no clipping."""

    num_steps: int
    learning_rate: float
    clip_norm: float = 1.0
    optimizer: Literal["adam", "sgd"] = "adam"


@dataclass
class Fit:
    """The history of a training: loss and gradient norm before clipping of each update, and CPU seconds."""

    losses: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    cpu_s: float = 0.0
    diverged: bool = False

    @property
    def num_steps(self) -> int:
        return len(self.losses)


def fit(
    network: nn.Module,
    loss_of: Callable[[int], Tensor],
    budget: Budget,
    is_done: Callable[[int], bool] = lambda _step: False,
) -> Fit:
    """Train until the budget is spent, `is_done(step)` is true, or the loss diverges.

    `loss_of(step)` makes a batch and returns its loss. CPU time is measured, which other processes do not affect.
    """
    kind = torch.optim.Adam if budget.optimizer == "adam" else torch.optim.SGD
    optimizer = kind(network.parameters(), budget.learning_rate)
    history = Fit()
    started = time.process_time()
    network.train()
    for step in range(budget.num_steps):
        loss = loss_of(step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = float(nn.utils.clip_grad_norm_(network.parameters(), budget.clip_norm))
        history.losses.append(float(loss.detach()))
        history.norms.append(norm)
        if not (history.losses[-1] < MAX_LOSS and math.isfinite(norm)):
            history.diverged = True
            break
        optimizer.step()
        if is_done(step):
            break
    history.cpu_s = time.process_time() - started
    return history


@contextmanager
def seeded(seed: int) -> Iterator[torch.Generator]:
    """Seed torch inside the block, without changing the caller's random state; the generator is for data."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield torch.Generator().manual_seed(seed)
