"""Pooling of a sequence of hidden states into one vector."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.config.networks import PoolingKind
from training.networks.layers.recurrent import RecurrentEncoder
from training.preprocessing.padded_sequences import length_mask


class Pooling(nn.Module):
    """`last` takes the final states, `mean` and `max` go over valid steps, `attention` learns the weights.

    `attention` is a softmax over `v . tanh(W state)` (Yang et al. 2016). Kinds joined by `+` are concatenated, as in
    the concat pooling of Howard and Ruder 2018.
    """

    def __init__(self, kind: PoolingKind, size: int) -> None:
        super().__init__()
        self.kind = kind
        self.parts = tuple(kind.split("+"))
        self.output_size = size * len(self.parts)
        self.projection = nn.Linear(size, size) if kind == "attention" else None
        self.energy = nn.Linear(size, 1, bias=False) if kind == "attention" else None

    def forward(self, encoder: nn.Module, outputs: Tensor, lengths: Tensor) -> Tensor:
        """`[batch, time, size]` -> `[batch, output_size]`."""
        mask = length_mask(lengths, outputs.shape[1]).unsqueeze(2)
        return torch.cat([self._part(part, encoder, outputs, lengths, mask) for part in self.parts], dim=1)

    def _part(self, part: str, encoder: nn.Module, outputs: Tensor, lengths: Tensor, mask: Tensor) -> Tensor:
        if part == "last":
            assert isinstance(encoder, RecurrentEncoder)
            return encoder.final(outputs, lengths)
        if part == "mean":
            return (outputs * mask).sum(dim=1) / lengths.unsqueeze(1)
        if part == "max":
            return outputs.masked_fill(~mask, -1e9).amax(dim=1)
        return self._attended(outputs, mask)

    def _attended(self, outputs: Tensor, mask: Tensor) -> Tensor:
        assert self.projection is not None
        assert self.energy is not None
        energies = self.energy(torch.tanh(self.projection(outputs)))
        weights = torch.softmax(energies.masked_fill(~mask, -1e9), dim=1)
        return (outputs * weights).sum(dim=1)
