"""The search for one sentence's best sequence of tokens: what was asked, and the best that has ended so far."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from service.tasks.core.task import Array


class SearchOptions(NamedTuple):
    """What one sentence asks for. `max_steps` counts the end token.

    With one beam the tokens are found without log-probabilities; `wants_score` has them computed all the same.
    """

    num_beams: int
    max_steps: int
    length_penalty: float
    wants_score: bool = True
    keeps_attention: bool = False

    @property
    def is_scored(self) -> bool:
        return self.wants_score or self.num_beams > 1


class Hypothesis(NamedTuple):
    """A decoded sequence without its end token.

    `score` is None if it was not wanted. `attention` is `[tokens, source time]`, without rows if it was not kept.
    """

    tokens: list[int]
    score: float | None
    attention: Array


class AttentionHistory(NamedTuple):
    """Where one step looked, `[source time]`, and the look of the step before. Beams share what they have in common."""

    weights: Array
    before: AttentionHistory | None


class HypothesisSearch:
    """What is known of one sentence beyond its rows. `looks` has one entry for each of its beams."""

    def __init__(self, plan: SearchOptions, source_length: int) -> None:
        self.plan = plan
        #: Of a sentence that is done, None means that the model's numbers were not finite.
        self.best: Hypothesis | None = None
        self.num_ended = 0
        self.is_done = False
        self.looks: list[AttentionHistory | None] = [None]
        self._source_length = source_length
        self._best_score = -np.inf
        self._largest_divisor = self._divisor(plan.max_steps)

    def fail(self) -> None:
        """Give up, because the model's numbers were not finite."""
        self.is_done, self.best = True, None

    def is_better(self, total: float, num_steps: int) -> bool:
        """Whether a hypothesis that ended now, with this log-probability, would be the best so far."""
        return total / self._divisor(num_steps) > self._best_score

    def keep(self, tokens: list[int], total: float, num_steps: int, look: AttentionHistory | None) -> None:
        """This is the best hypothesis so far."""
        self._best_score = total / self._divisor(num_steps)
        score = self._best_score if self.plan.wants_score else None
        self.best = Hypothesis(tokens, score, _stacked(look, self._source_length))

    def may_improve(self, total: float) -> bool:
        """Whether an open hypothesis with this log-probability may still become the answer.

        At best all its further tokens are certain, and it ends when the divisor is largest.
        """
        return self.num_ended < self.plan.num_beams and total / self._largest_divisor > self._best_score

    def looked(self, weights: Array, before: AttentionHistory | None) -> AttentionHistory | None:
        """The look of one more step, if anyone wants to know."""
        return AttentionHistory(weights[: self._source_length].copy(), before) if self.plan.keeps_attention else None

    def _divisor(self, length: int) -> float:
        return float(((5.0 + length) / 6.0) ** self.plan.length_penalty)


def _stacked(look: AttentionHistory | None, source_length: int) -> Array:
    """`[tokens, source time]` of a last look and all before it."""
    rows: list[Array] = []
    while look is not None:
        rows.append(look.weights)
        look = look.before
    return np.array(rows[::-1], dtype=np.float32).reshape(len(rows), source_length)
