"""Dropout for sequences: variational dropout, embedding dropout and word dropout."""

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


def sequence_dropout(rate: float, locked: bool) -> nn.Module:
    """Dropout over `[batch, time, width]`: one mask for all steps of a sequence, or standard dropout."""
    return LockedDropout(rate) if locked else nn.Dropout(rate)


class EmbeddingDropout(nn.Module):
    """Embedding dropout (Merity et al. 2018): a dropped word has a zero vector everywhere in the batch."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, embedding: nn.Embedding, ids: Tensor) -> Tensor:
        """`[batch, time]` of ids -> `[batch, time, width]`."""
        embedded: Tensor = embedding(ids)
        if not self.training or self.rate == 0.0:
            return embedded
        keep = 1.0 - self.rate
        kept = torch.empty(embedding.num_embeddings, device=ids.device, dtype=embedded.dtype).bernoulli_(keep)
        return embedded * kept.div_(keep)[ids].unsqueeze(2)


class WordDropout(nn.Module):
    """Replaces random tokens by UNK during training, so that the vector of UNK is trained."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, ids: Tensor) -> Tensor:
        """`[batch, time]` of ids -> the same shape; padding is never replaced."""
        if not self.training or self.rate == 0.0:
            return ids
        dropped = (torch.rand(ids.shape, device=ids.device) < self.rate) & (ids != 0)
        return ids.masked_fill(dropped, UNK)
