"""Batches: the tensors of one update."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Self

import torch
from torch import Tensor

#: The label of a text without one; losses ignore it.
NO_LABEL = -100


@dataclass(frozen=True)
class Batch:
    """Base class: every field is a tensor whose first dimension is the batch."""

    def to(self, device: torch.device) -> Self:
        """The same batch on `device`."""
        return type(self)(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})

    @property
    def num_terms(self) -> int:
        """Number of terms that the loss is a mean of: one per row, unless a subclass says otherwise."""
        return len(getattr(self, fields(self)[0].name))


@dataclass(frozen=True)
class TaggingBatch(Batch):
    """`words` and `tags` are `[batch, time]`, `characters` `[batch, time, chars]`, the others `[batch]`.

    A text without a label of its own has `NO_LABEL` among the `text_labels`.
    """

    words: Tensor
    characters: Tensor
    lengths: Tensor
    tags: Tensor
    text_labels: Tensor

    @property
    def num_terms(self) -> int:
        """One per word."""
        return int(self.lengths.sum())


@dataclass(frozen=True)
class ParsingBatch(Batch):
    """All `[batch, time]` but `characters` `[batch, time, chars]` and `lengths` `[batch]`.

    `heads` are numbers of words from 1, and 0 for the root; `offsets` are the same heads as labels. Features and
    offsets are zeros for a network that does not predict them.
    """

    words: Tensor
    characters: Tensor
    lengths: Tensor
    tags: Tensor
    heads: Tensor
    relations: Tensor
    features: Tensor
    offsets: Tensor

    @property
    def num_terms(self) -> int:
        """One per word."""
        return int(self.lengths.sum())


@dataclass(frozen=True)
class SegmentationBatch(Batch):
    """`characters` of windows of a text and their `classes` `[batch, time]`, `NO_LABEL` for padding; `lengths`."""

    characters: Tensor
    lengths: Tensor
    classes: Tensor

    @property
    def num_terms(self) -> int:
        """One per character."""
        return int(self.lengths.sum())


@dataclass(frozen=True)
class ClassificationBatch(Batch):
    """`tokens` is `[batch, time]`, `characters` `[batch, time, chars]`; `lengths` and `labels` are `[batch]`.

    Where no characters are read, those are `[batch, 1, 1]` of padding.
    """

    tokens: Tensor
    lengths: Tensor
    labels: Tensor
    characters: Tensor


@dataclass(frozen=True)
class SignalBatch(Batch):
    """`values` is `[batch, time, features]` of frames or `[batch, time]` of sound; `lengths`, `labels` `[batch]`."""

    values: Tensor
    lengths: Tensor
    labels: Tensor


@dataclass(frozen=True)
class TranscriptionBatch(Batch):
    """`values` as of signals; `tokens` `[batch, longest]` of the transcripts; `lengths`, `num_tokens` `[batch]`."""

    values: Tensor
    lengths: Tensor
    tokens: Tensor
    num_tokens: Tensor


@dataclass(frozen=True)
class TranslationBatch(Batch):
    """`source` `[batch, time]` ends in EOS; `target_inputs` starts with BOS, `target_outputs` ends in EOS.

    Where words are copied, `copy_ids` `[batch, time]` and `target_outputs` are extended ids; otherwise it is
    `[batch, 0]`.
    """

    source: Tensor
    source_lengths: Tensor
    target_inputs: Tensor
    target_outputs: Tensor
    copy_ids: Tensor = field(default_factory=lambda: torch.zeros((1, 0), dtype=torch.int64))

    @property
    def num_terms(self) -> int:
        """One per token of the target, its end included."""
        return int(self.target_outputs.count_nonzero())


@dataclass(frozen=True)
class CaptioningBatch(Batch):
    """`pixels` `[batch, rows, columns, 3]` of uint8, `may_mirror` `[batch]` of bool; targets as of a translation."""

    pixels: Tensor
    may_mirror: Tensor
    target_inputs: Tensor
    target_outputs: Tensor

    @property
    def num_terms(self) -> int:
        """One per token of the caption, its end included."""
        return int(self.target_outputs.count_nonzero())


@dataclass(frozen=True)
class VideoBatch(Batch):
    """`frames` `[batch, time, rows, columns, 3]` of uint8; `lengths`, `actions`, `next_actions` `[batch]`.

    `may_mirror` is `[batch]` of bool; targets as of a translation.
    """

    frames: Tensor
    lengths: Tensor
    may_mirror: Tensor
    actions: Tensor
    next_actions: Tensor
    target_inputs: Tensor
    target_outputs: Tensor

    @property
    def num_terms(self) -> int:
        """One per token of the caption, its end included."""
        return int(self.target_outputs.count_nonzero())


@dataclass(frozen=True)
class LanguageBatch(Batch):
    """`targets` is `inputs` one step later, both `[batch, window]`; rows continue those of the batch before."""

    inputs: Tensor
    targets: Tensor


@dataclass(frozen=True)
class ForecastingBatch(Batch):
    """`frames` is `[batch, look_back, channels]`; `future` `[batch, horizon, targets]`, NaN where there is a gap."""

    frames: Tensor
    future: Tensor
