"""Dropout that fits sequences."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from service.bundle.tokenizer import UNK


class LockedDropout(nn.Module):
    """Variational dropout (Gal and Ghahramani 2016): one mask per sequence, the same at every time step."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, inputs: Tensor) -> Tensor:
        """`[batch, time, width]` -> the same shape."""
        if not self.training or self.rate == 0.0:
            return inputs
        keep = 1.0 - self.rate
        mask = torch.empty(inputs.shape[0], 1, inputs.shape[2], device=inputs.device, dtype=inputs.dtype)
        return inputs * mask.bernoulli_(keep).div_(keep)


class WordDropout(nn.Module):
    """Turns whole tokens into UNK at random while training, so that UNK means something when it is met."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, ids: Tensor) -> Tensor:
        """`[batch, time]` of ids -> the same, padding untouched."""
        if not self.training or self.rate == 0.0:
            return ids
        dropped = (torch.rand(ids.shape, device=ids.device) < self.rate) & (ids != 0)
        return ids.masked_fill(dropped, UNK)
