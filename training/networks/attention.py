"""Attention of a decoder over the encoder's outputs, split so that each sentence is projected once."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.network_config import AttentionKind


class AdditiveAttention(nn.Module):
    """energy = v . tanh(W memory + U query) (Bahdanau et al. 2015)."""

    def __init__(self, query_size: int, memory_size: int, key_size: int) -> None:
        super().__init__()
        self.key = nn.Linear(memory_size, key_size, bias=False)
        self.query = nn.Linear(query_size, key_size)
        self.energy = nn.Linear(key_size, 1, bias=False)

    def energies(self, queries: Tensor, keys: Tensor) -> Tensor:
        """`[batch, steps, query]`, `[batch, time, key]` -> `[batch, steps, time]`."""
        summed = self.query(queries).unsqueeze(2) + keys.unsqueeze(1)
        energies: Tensor = self.energy(torch.tanh(summed)).squeeze(3)
        return energies


class DotAttention(nn.Module):
    """energy = query . W memory / sqrt(key size): Luong et al. 2015, "general", scaled."""

    def __init__(self, query_size: int, memory_size: int, key_size: int) -> None:
        super().__init__()
        self.key = nn.Linear(memory_size, key_size, bias=False)
        self.query = nn.Linear(query_size, key_size)
        self.scale = key_size**-0.5

    def energies(self, queries: Tensor, keys: Tensor) -> Tensor:
        """`[batch, steps, query]`, `[batch, time, key]` -> `[batch, steps, time]`."""
        energies: Tensor = torch.matmul(self.query(queries), keys.transpose(1, 2)) * self.scale
        return energies


ATTENTIONS: dict[AttentionKind, type[AdditiveAttention] | type[DotAttention]] = {
    "additive": AdditiveAttention,
    "dot": DotAttention,
}


def attend(energies: Tensor, memory: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Softmax of the energies over the valid steps, and the memory averaged by it.

    Args:
        energies: `[batch, steps, time]`.
        memory: `[batch, time, width]`.
        mask: `[batch, time]` of bool.

    Returns:
        context `[batch, steps, width]` and weights `[batch, steps, time]`, zero on padding.
    """
    weights = torch.softmax(energies.masked_fill(~mask.unsqueeze(1), -1e9), dim=2)
    return torch.matmul(weights, memory), weights
