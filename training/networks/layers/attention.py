"""Attention of a decoder over encoder memory, with the keys computed once per source.

Each kind has `key`, which projects the memory to keys `[batch, time, key_size]`, and `energies`, which scores queries
against them. Luong's "concat" is the same as `additive`: the product with two concatenated vectors is the sum of the
products with each.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from service.bundle.tokenizer import UNK
from training.config.networks import AttentionKind, TranslatorAttention

#: The logarithm of no probability at all; finite, so that gradients are.
_NEVER = -1e9
#: Smaller sums of attention count as this one.
_LEAST = 1e-30


class AdditiveAttention(nn.Module):
    """energy = v . tanh(W memory + U query + w coverage) (Bahdanau et al. 2015; coverage: See et al. 2017, eq. 11).

    With `coverage`, `energies` also takes the coverage `[batch, time]`; its weight is initialised to zero.
    """

    def __init__(self, query_size: int, memory_size: int, key_size: int, *, coverage: bool = False) -> None:
        super().__init__()
        self.key_size = key_size
        self.key = nn.Linear(memory_size, key_size, bias=False)
        self.query = nn.Linear(query_size, key_size)
        self.energy = nn.Linear(key_size, 1, bias=False)
        self.coverage = nn.Linear(1, key_size, bias=False) if coverage else None
        if self.coverage is not None:
            nn.init.zeros_(self.coverage.weight)

    def energies(self, queries: Tensor, keys: Tensor, coverage: Tensor | None = None) -> Tensor:
        """`[batch, steps, query]`, `[batch, time, key]` -> `[batch, steps, time]`."""
        summed = self.query(queries).unsqueeze(2) + keys.unsqueeze(1)
        if self.coverage is not None and coverage is not None:
            summed = summed + self.coverage(coverage.unsqueeze(2)).unsqueeze(1)
        energies: Tensor = self.energy(torch.tanh(summed)).squeeze(3)
        return energies


class DotAttention(nn.Module):
    """energy = U query . W memory / sqrt(key size): both projected to `key_size`, and scaled (Vaswani et al. 2017)."""

    def __init__(self, query_size: int, memory_size: int, key_size: int) -> None:
        super().__init__()
        self.key_size = key_size
        self.key = nn.Linear(memory_size, key_size, bias=False)
        self.query = nn.Linear(query_size, key_size)
        self.scale = key_size**-0.5

    def energies(self, queries: Tensor, keys: Tensor) -> Tensor:
        """`[batch, steps, query]`, `[batch, time, key]` -> `[batch, steps, time]`."""
        energies: Tensor = torch.matmul(self.query(queries), keys.transpose(1, 2)) * self.scale
        return energies


class GeneralAttention(nn.Module):
    """energy = query . W memory (Luong et al. 2015, "general"): keys have the query's width, `key_size` is ignored."""

    def __init__(self, query_size: int, memory_size: int, key_size: int) -> None:
        super().__init__()
        self.key_size = query_size
        self.key = nn.Linear(memory_size, query_size, bias=False)

    def energies(self, queries: Tensor, keys: Tensor) -> Tensor:
        """`[batch, steps, query]`, `[batch, time, query]` -> `[batch, steps, time]`."""
        return torch.matmul(queries, keys.transpose(1, 2))


class PlainDotAttention(nn.Module):
    """energy = query . memory (Luong et al. 2015, "dot"), without parameters.

    Raises:
        ValueError: query and memory have different widths.
    """

    def __init__(self, query_size: int, memory_size: int, key_size: int) -> None:
        super().__init__()
        if query_size != memory_size:
            raise ValueError(f"a query of {query_size} numbers has no dot product with a memory of {memory_size}")
        self.key_size = memory_size
        self.key = nn.Identity()

    def energies(self, queries: Tensor, keys: Tensor) -> Tensor:
        """`[batch, steps, memory]`, `[batch, time, memory]` -> `[batch, steps, time]`."""
        return torch.matmul(queries, keys.transpose(1, 2))


Attention = AdditiveAttention | DotAttention | GeneralAttention | PlainDotAttention

#: Kinds that work for any sizes of query and memory.
ATTENTIONS: dict[AttentionKind, type[AdditiveAttention] | type[DotAttention]] = {
    "additive": AdditiveAttention,
    "dot": DotAttention,
}

TRANSLATOR_ATTENTIONS: dict[TranslatorAttention, type[Attention]] = {
    "additive": AdditiveAttention,
    "dot": DotAttention,
    "general": GeneralAttention,
    "plain_dot": PlainDotAttention,
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
    weights = torch.softmax(masked_energies(energies, mask), dim=2)
    return torch.matmul(weights, memory), weights


def masked_energies(energies: Tensor, mask: Tensor) -> Tensor:
    """Energies `[batch, steps, time]`, very low where the mask `[batch, time]` is false."""
    return energies.masked_fill(~mask.unsqueeze(1), -1e9)


class CopyGate(NamedTuple):
    """What a decoder that copies gives for each step (pointer-generator network, See et al. 2017, eq. 9).

    Attributes:
        logits: of the vocabulary, `[batch, steps, vocab]`.
        generate_logit: of writing a word of the vocabulary rather than of the source, `[batch, steps]`.
        weights: attention, `[batch, steps, time]`.
    """

    logits: Tensor
    generate_logit: Tensor
    weights: Tensor

    def log_likelihoods(self, copy_ids: Tensor, targets: Tensor) -> Tensor:
        """`[batch, steps]`: log p of each target.

        Args:
            copy_ids: extended ids of the source, `[batch, time]`; `service.tasks.seq2seq.copying` says what they are.
            targets: extended ids, `[batch, steps]`.
        """
        is_known = targets < self.logits.shape[2]
        readable = torch.where(is_known, targets, UNK).unsqueeze(2)
        of_vocabulary = torch.log_softmax(self.logits.float(), dim=2).gather(2, readable).squeeze(2)
        holds_target = copy_ids.unsqueeze(1) == targets.unsqueeze(2)
        looked = (self.weights.float() * holds_target).sum(dim=2)
        is_in_source = holds_target.any(dim=2)
        of_source = torch.where(is_in_source, looked.clamp(min=_LEAST), 1.0).log()
        gate = self.generate_logit.float()
        generated = F.logsigmoid(gate) + of_vocabulary.masked_fill(~is_known, _NEVER)
        copied = F.logsigmoid(-gate) + of_source.masked_fill(~is_in_source, _NEVER)
        return torch.logaddexp(generated, copied)

    def loss(self, copy_ids: Tensor, targets: Tensor) -> Tensor:
        """Mean of -log p over the targets that are not padding."""
        is_target = targets != 0
        return -(self.log_likelihoods(copy_ids, targets) * is_target).sum() / is_target.sum().clamp(min=1)
