"""Scheduled sampling (Bengio et al. 2015): a target in training is read as it will be in use, with tokens of one's own.

Tokens are drawn step by step, each from what stands before it, and without gradients; the sentence that comes of it is
then read whole. That takes a second reading, and one that goes step by step.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from training.config.networks import SamplingSchedule

#: Reads one token of each row, `[batch]`, and gives logits `[batch, vocab]`; remembers its state.
Read = Callable[[Tensor], Tensor]

#: Beyond it an exponential is so large that no true token is left.
_MAX_EXPONENT = 700.0


def share_true(schedule: SamplingSchedule, num_updates: int, speed: int, floor: float) -> float:
    """The share of true tokens after so many updates: from 1 down to `floor`.

    `speed` is the updates until the floor (`linear`), or k in k / (k + exp(i / k)) (`inverse_sigmoid`).
    """
    if schedule == "none":
        return 1.0
    if schedule == "linear":
        return max(floor, 1.0 - (1.0 - floor) * num_updates / speed)
    return max(floor, speed / (speed + math.exp(min(_MAX_EXPONENT, num_updates / speed))))


@torch.no_grad()
def mixed_inputs(inputs: Tensor, share: float, read: Read) -> Tensor:
    """`[batch, steps]` with each token after the first kept with a chance of `share`, else drawn from `read`.

    Padding stays, and is never drawn.
    """
    mixed = inputs.clone()
    is_own = (torch.rand(inputs.shape, device=inputs.device) >= share) & (inputs != 0)
    for step in range(1, inputs.shape[1]):
        chances = torch.softmax(read(mixed[:, step - 1]).float(), dim=1)
        chances[:, 0] = 0.0
        drawn = torch.multinomial(chances, 1).squeeze(1)
        mixed[:, step] = torch.where(is_own[:, step], drawn, inputs[:, step])
    return mixed
