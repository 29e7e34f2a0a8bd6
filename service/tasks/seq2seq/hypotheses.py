"""The hypotheses of one sentence in beam search: its options, and the best that has ended so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from service.tasks.core.task import Array
from service.tasks.seq2seq.grammar.parse_stack import ParseStack
from service.tasks.seq2seq.grammar.word_constraint import WordConstraint


class SearchOptions(NamedTuple):
    """Search options of one sentence. `max_steps` includes the end token.

    Greedy decoding needs no log-probabilities; with `wants_score` they are computed for the score. With a `constraint`
    every hypothesis parses, and ends within `max_steps`, which must leave room for the shortest.
    """

    num_beams: int
    max_steps: int
    length_penalty: float
    wants_score: bool = True
    keeps_attention: bool = False
    constraint: WordConstraint | None = None

    @property
    def is_scored(self) -> bool:
        return self.wants_score or self.num_beams > 1


class Hypothesis(NamedTuple):
    """A decoded sequence without its end token.

    `score` is None if it was not requested. `attention` is `[tokens, source time]`, without rows if it was not kept; of
    a source with places at each time it is `[tokens, source time, places]`. `told` has what else the encoder says of
    the source, by the names of its outputs: those that the task wants kept.
    `origins` are the source positions that tokens were copied from, -1 for the others.
    """

    tokens: list[int]
    score: float | None
    attention: Array
    origins: Sequence[int] = ()
    told: Mapping[str, Array] = {}


class AttentionHistory(NamedTuple):
    """Attention weights of one step, linked to the step before; beams share their common past.

    They are `[source time]`, or `[source time, places]`.
    """

    weights: Array
    before: AttentionHistory | None


class HypothesisSearch:
    """The search of one sentence, apart from its rows.

    `attention` and, under a constraint, `parses` have one entry for each of its open beams.
    """

    def __init__(self, plan: SearchOptions, source_length: int, told: Mapping[str, Array] | None = None) -> None:
        self.plan = plan
        self._told = told or {}
        #: If it is None once the sentence is done, the model's numbers were not finite.
        self.best: Hypothesis | None = None
        self.num_ended = 0
        self.is_done = False
        self.attention: list[AttentionHistory | None] = [None]
        self.parses: list[ParseStack] = [plan.constraint.start] if plan.constraint else []
        self._source_length = source_length
        self._best_score = -np.inf
        self._largest_divisor = self._divisor(plan.max_steps)

    def fail(self) -> None:
        """End the search, because the model's numbers were not finite."""
        self.is_done, self.best = True, None

    def is_better(self, total: float, num_steps: int) -> bool:
        """Whether a hypothesis that ends after `num_steps` with this log-probability is the best so far."""
        return total / self._divisor(num_steps) > self._best_score

    def keep(
        self,
        tokens: list[int],
        total: float,
        num_steps: int,
        history: AttentionHistory | None,
        origins: Sequence[int] = (),
    ) -> None:
        """Store the best hypothesis so far."""
        self._best_score = total / self._divisor(num_steps)
        score = self._best_score if self.plan.wants_score else None
        weights = _stacked(history, self._source_length)
        self.best = Hypothesis(tokens, score, weights, origins, self._told)

    def may_improve(self, total: float, num_steps: int) -> bool:
        """Whether an open hypothesis with this log-probability after `num_steps` may still become the best.

        The bound assumes that all its further tokens have probability 1, and that it ends when the divisor is largest.
        Once `num_beams` hypotheses have ended, it assumes that it ends now: the search then goes on only with a
        hypothesis that leads already, as in Hugging Face's `early_stopping=False`.
        """
        has_enough = self.num_ended >= self.plan.num_beams
        divisor = self._divisor(num_steps) if has_enough else self._largest_divisor
        return total / divisor > self._best_score

    def extended(self, weights: Array, before: AttentionHistory | None) -> AttentionHistory | None:
        """The history with the weights of one more step; None unless attention is returned."""
        return AttentionHistory(weights[: self._source_length].copy(), before) if self.plan.keeps_attention else None

    def _divisor(self, length: int) -> float:
        return float(((5.0 + length) / 6.0) ** self.plan.length_penalty)


def _stacked(history: AttentionHistory | None, source_length: int) -> Array:
    """`[tokens, source time]`, with places as the weights have them: those of all steps, the first step first."""
    rows: list[Array] = []
    while history is not None:
        rows.append(history.weights)
        history = history.before
    return np.array(rows[::-1], dtype=np.float32) if rows else np.empty((0, source_length), dtype=np.float32)
