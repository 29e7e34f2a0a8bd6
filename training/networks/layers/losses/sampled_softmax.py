"""Sampled softmax: cross entropy over the targets and a sample of a large vocabulary (Jean et al. 2015)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def sampled_cross_entropy(features: Tensor, targets: Tensor, output: nn.Linear, num_samples: int) -> Tensor:
    """An estimate of the cross entropy over all words, at the cost of the sampled ones.

    One sample is shared by the whole batch, together with all of its targets. Each sampled word is weighted by the
    inverse of its probability of being in the sample, so that the estimate of the softmax's sum is unbiased.

    Args:
        features: `[tokens, width]`, the input of `output`.
        targets: `[tokens]`.
        num_samples: draws with replacement; duplicates are removed.
    """
    vocabulary = output.out_features
    drawn = draw_words(num_samples, vocabulary, targets.device)
    candidates, places = torch.cat([targets, drawn]).unique(return_inverse=True)
    logits = F.linear(features, output.weight[candidates], output.bias[candidates]).float()
    chance = -torch.expm1(-num_samples * draw_probability(candidates, vocabulary))
    is_target = torch.zeros_like(candidates, dtype=torch.bool).index_fill_(0, places[: len(targets)], True)
    return F.cross_entropy(logits - chance.log().masked_fill(is_target, 0.0), places[: len(targets)])


def draw_words(number: int, vocabulary: int, device: torch.device) -> Tensor:
    """`[number]` of ids, id `i` with probability `log((i + 2) / (i + 1)) / log(vocabulary + 1)`.

    Zipf's law, for a vocabulary in order of frequency.
    """
    uniform = torch.rand(number, device=device, dtype=torch.float64)
    return (torch.exp(uniform * math.log(vocabulary + 1)) - 1).long().clamp(max=vocabulary - 1)


def draw_probability(ids: Tensor, vocabulary: int) -> Tensor:
    """The probability of each id in one draw of `draw_words`, float32."""
    return torch.log1p(1 / (ids.double() + 1)).div(math.log(vocabulary + 1)).float()
