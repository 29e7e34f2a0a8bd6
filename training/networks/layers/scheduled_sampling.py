"""Scheduled sampling (Bengio et al. 2015): teacher forcing in which some target tokens are the network's own.

A first pass without gradients samples tokens step by step; a second pass computes the loss over the whole sequence.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from training.config.networks import SamplingSchedule

#: One decoder step: a token of each row, `[batch]` -> logits `[batch, vocab]`; keeps its state between calls.
Read = Callable[[Tensor], Tensor]

#: Keeps the exponential finite; beyond it the share is 0.
_MAX_EXPONENT = 700.0


def teacher_forcing_share(schedule: SamplingSchedule, num_updates: int, speed: int, floor: float) -> float:
    """The probability of a true target token after `num_updates`, decreasing from 1 to `floor`.

    `speed` is the number of updates until the floor (`linear`), or k in k / (k + exp(i / k)) (`inverse_sigmoid`).
    """
    if schedule == "none":
        return 1.0
    if schedule == "linear":
        return max(floor, 1.0 - (1.0 - floor) * num_updates / speed)
    return max(floor, speed / (speed + math.exp(min(_MAX_EXPONENT, num_updates / speed))))


@torch.no_grad()
def sampled_inputs(inputs: Tensor, share: float, read: Read) -> Tensor:
    """`[batch, steps]`: each token after the first is kept with probability `share`, else sampled from `read`.

    Padding is kept, and never sampled.
    """
    mixed = inputs.clone()
    is_sampled = (torch.rand(inputs.shape, device=inputs.device) >= share) & (inputs != 0)
    for step in range(1, inputs.shape[1]):
        probabilities = torch.softmax(read(mixed[:, step - 1]).float(), dim=1)
        probabilities[:, 0] = 0.0
        drawn = torch.multinomial(probabilities, 1).squeeze(1)
        mixed[:, step] = torch.where(is_sampled[:, step], drawn, inputs[:, step])
    return mixed
