"""Deep biaffine scorers of arcs and of their relations (Dozat and Manning 2017)."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from training.networks.layers.dropout import sequence_dropout

#: The score of an arc that cannot be: from a word to itself, or from beyond the end of the sentence.
IMPOSSIBLE: Final = -1e9
#: Slope of the activation below 0.
SLOPE: Final = 0.1


class Projection(nn.Module):
    """A word in one of its roles, as head or as dependent: linear layer, leaky ReLU, dropout."""

    def __init__(self, input_size: int, size: int, dropout: float) -> None:
        super().__init__()
        self.linear = nn.Linear(input_size, size)
        self.activation = nn.LeakyReLU(SLOPE)
        self.dropout = sequence_dropout(dropout, locked=True)

    def forward(self, words: Tensor) -> Tensor:
        """`[batch, time, input]` -> `[batch, time, size]`."""
        projected: Tensor = self.dropout(self.activation(self.linear(words)))
        return projected


class ArcScorer(nn.Module):
    """Scores of all pairs of a dependent d and a head h: d'Uh + u'h. The second term says how often h is a head."""

    def __init__(self, input_size: int, size: int, dropout: float) -> None:
        super().__init__()
        self.dependent = Projection(input_size, size, dropout)
        self.head = Projection(input_size, size, dropout)
        self.bilinear = nn.Linear(size, size)

    def forward(self, words: Tensor, candidates: Tensor, lengths: Tensor) -> Tensor:
        """`[batch, time, input]` and the same after a root, `[batch, time + 1, input]` -> `[batch, time, time + 1]`.

        Arcs that cannot be score `IMPOSSIBLE`.
        """
        scores: Tensor = self.bilinear(self.dependent(words)) @ self.head(candidates).transpose(1, 2)
        return scores.masked_fill(impossible_arcs(lengths, words.shape[1]), IMPOSSIBLE)


def impossible_arcs(lengths: Tensor, time: int) -> Tensor:
    """bool `[batch, time, time + 1]`: whether a candidate is the word itself, or beyond the end of its row."""
    places = torch.arange(time + 1, device=lengths.device)
    is_beyond = places > lengths[:, None, None]
    is_own = places == places[1:, None]
    return is_beyond | is_own


class RelationScorer(nn.Module):
    """Scores of every relation of an arc from a head h to a dependent d: d'U_r h + v_r'd + w_r'h + b_r."""

    def __init__(self, input_size: int, size: int, relations: int, dropout: float) -> None:
        super().__init__()
        self.size, self.num_relations = size, relations
        self.dependent = Projection(input_size, size, dropout)
        self.head = Projection(input_size, size, dropout)
        # Its bias holds w_r.
        self.bilinear = nn.Linear(size, relations * size)
        self.linear = nn.Linear(size, relations)

    def forward(self, dependents: Tensor, heads: Tensor) -> Tensor:
        """`[arcs, size]` of each side -> `[arcs, relations]`."""
        by_relation = self.bilinear(dependents).view(-1, self.num_relations, self.size)
        logits: Tensor = (by_relation @ heads.unsqueeze(2)).squeeze(2) + self.linear(dependents)
        return logits
