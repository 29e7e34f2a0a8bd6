"""The likelihood of a decoder that copies (pointer-generator network, See et al. 2017, eq. 9), in log space."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from service.bundle.tokenizer import UNK

#: The logarithm of no probability at all; finite, so that gradients are.
_NEVER = -1e9
#: Smaller sums of attention count as this one.
_LEAST = 1e-30


class CopyGate(NamedTuple):
    """What a decoder that copies gives for each step.

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
