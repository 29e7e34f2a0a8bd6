"""What a network learns from in one update: tensors of one batch."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Base: every field is a tensor with the batch first."""

    def to(self, device: torch.device) -> Self:
        """The same batch on `device`."""
        return type(self)(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})


@dataclass(frozen=True)
class TaggingBatch(Batch):
    """`words` and `tags` are `[batch, time]`, `characters` `[batch, time, chars]`, `lengths` `[batch]`."""

    words: Tensor
    characters: Tensor
    lengths: Tensor
    tags: Tensor


@dataclass(frozen=True)
class ClassificationBatch(Batch):
    """`tokens` is `[batch, time]`; `lengths` and `labels` are `[batch]`."""

    tokens: Tensor
    lengths: Tensor
    labels: Tensor


@dataclass(frozen=True)
class TranslationBatch(Batch):
    """`source` `[batch, time]` ends in EOS; `target_inputs` starts with BOS, `target_outputs` ends in EOS."""

    source: Tensor
    source_lengths: Tensor
    target_inputs: Tensor
    target_outputs: Tensor


@dataclass(frozen=True)
class LanguageBatch(Batch):
    """`targets` is `inputs` one step later, both `[batch, window]`; rows go on where the last batch's rows ended."""

    inputs: Tensor
    targets: Tensor


AnyBatch = TaggingBatch | ClassificationBatch | TranslationBatch | LanguageBatch
