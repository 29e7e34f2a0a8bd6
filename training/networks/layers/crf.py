"""The loss of a linear-chain conditional random field (Lafferty et al. 2001), in log space.

This is the training loss only. Viterbi decoding is done by the service in numpy, during training's evaluation too.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.preprocessing.padded_sequences import length_mask


class CRF(nn.Module):
    """The transition scores and the negative log-likelihood.

    `transitions` is `[labels + 1, labels + 1]`, `[from, to]`: row `labels` scores the first tag of a sentence, column
    `labels` scores the end after a tag.
    """

    def __init__(self, labels: int) -> None:
        super().__init__()
        self.labels = labels
        self.transitions = nn.Parameter(torch.empty(labels + 1, labels + 1).uniform_(-0.1, 0.1))

    def negative_log_likelihood(self, emissions: Tensor, tags: Tensor, lengths: Tensor) -> Tensor:
        """`[batch]`: -log p(tags | emissions) of each sentence.

        Args:
            emissions: `[batch, time, labels]`.
            tags: `[batch, time]`; values beyond a length are ignored.
            lengths: `[batch]`, each at least 1.
        """
        mask = length_mask(lengths, emissions.shape[1])
        return self._log_partition(emissions, mask) - self._score(emissions, tags, lengths, mask)

    def _score(self, emissions: Tensor, tags: Tensor, lengths: Tensor, mask: Tensor) -> Tensor:
        tags = tags.masked_fill(~mask, 0)
        emitted = (emissions.gather(2, tags.unsqueeze(2)).squeeze(2) * mask).sum(dim=1)
        moved = (self.transitions[tags[:, :-1], tags[:, 1:]] * mask[:, 1:]).sum(dim=1)
        last = tags.gather(1, (lengths - 1).unsqueeze(1)).squeeze(1)
        return emitted + moved + self.transitions[self.labels, tags[:, 0]] + self.transitions[last, self.labels]

    def _log_partition(self, emissions: Tensor, mask: Tensor) -> Tensor:
        inner = self.transitions[: self.labels, : self.labels]
        alpha = emissions[:, 0] + self.transitions[self.labels, : self.labels]
        for step in range(1, emissions.shape[1]):
            moved = torch.logsumexp(alpha.unsqueeze(2) + inner, dim=1) + emissions[:, step]
            alpha = torch.where(mask[:, step].unsqueeze(1), moved, alpha)
        return torch.logsumexp(alpha + self.transitions[: self.labels, self.labels], dim=1)
