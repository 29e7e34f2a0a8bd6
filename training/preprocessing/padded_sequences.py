"""Padded batches of sequences: masks, reversal within each length, and the last valid step."""

from __future__ import annotations

import torch
from torch import Tensor


def length_mask(lengths: Tensor, time: int) -> Tensor:
    """`[batch, time]` of bool: True where a step lies within the sequence."""
    return torch.arange(time, device=lengths.device) < lengths.unsqueeze(1)


def reverse_sequence(inputs: Tensor, lengths: Tensor) -> Tensor:
    """Reverse `[batch, time, width]` within each length; padding stays where it is (ONNX ReverseSequence)."""
    steps = torch.arange(inputs.shape[1], device=inputs.device).expand(inputs.shape[0], -1)
    ends = lengths.unsqueeze(1)
    index = torch.where(steps < ends, ends - 1 - steps, steps)
    return inputs.gather(1, index.unsqueeze(2).expand_as(inputs))


def last_step(outputs: Tensor, lengths: Tensor) -> Tensor:
    """`[batch, width]`: the output at the last valid step of each row."""
    index = (lengths - 1).view(-1, 1, 1).expand(-1, 1, outputs.shape[2])
    return outputs.gather(1, index).squeeze(1)
