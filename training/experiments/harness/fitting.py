"""A training loop for small networks, where the loss and the gradient of every update are what is looked at."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

#: More nats than this is no longer learning; it is also where the trainer of real runs stops.
MAX_LOSS = 1000.0


@dataclass(frozen=True)
class Budget:
    """How long and how boldly. `clip_norm` of infinity is no clipping."""

    num_steps: int
    learning_rate: float
    clip_norm: float = 1.0
    optimizer: Literal["adam", "sgd"] = "adam"


@dataclass
class Fit:
    """What happened: the loss and the gradient's norm before clipping, by update; time is that of the processor."""

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
    """Update until the budget is spent, `is_done(step)` says so, or the loss is no number any more.

    `loss_of(step)` makes the batch and gives its loss. Seconds count the processor, so that other work on the machine
    does not.
    """
    kind = torch.optim.Adam if budget.optimizer == "adam" else torch.optim.SGD
    optimizer = kind(network.parameters(), budget.learning_rate)
    seen = Fit()
    started = time.process_time()
    network.train()
    for step in range(budget.num_steps):
        loss = loss_of(step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = float(nn.utils.clip_grad_norm_(network.parameters(), budget.clip_norm))
        seen.losses.append(float(loss.detach()))
        seen.norms.append(norm)
        if not (seen.losses[-1] < MAX_LOSS and math.isfinite(norm)):
            seen.diverged = True
            break
        optimizer.step()
        if is_done(step):
            break
    seen.cpu_s = time.process_time() - started
    return seen


@contextmanager
def seeded(seed: int) -> Iterator[torch.Generator]:
    """Inside, weights are drawn from `seed`; the generator is for data. The caller's random numbers stay untouched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield torch.Generator().manual_seed(seed)
