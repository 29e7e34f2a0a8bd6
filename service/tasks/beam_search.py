"""Beam search over many examples at once: rows are examples times beams, and every array operation works on all rows.

Examples are independent: each has its own number of beams, length penalty and limit, ties go to the earlier beam and
then to the lower id, so an example finds the same hypothesis in any company. Finished examples leave the batch.

Scores are `log p / ((5 + length) / 6) ** length_penalty` (Wu et al. 2016, eq. 14), where length counts every token that
has a log-probability, the end token too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from service.bundle.padding import IntArray
from service.bundle.tokenizer import BOS, EOS
from service.tasks.base import Array
from service.tasks.probabilities import DoubleArray, log_sum_exp

Mask = NDArray[np.bool_]


class StepModel(Protocol):
    """One step of a decoder for a changing set of rows."""

    def step(self, tokens: IntArray, parents: IntArray, examples: IntArray) -> tuple[Array, Array]:
        """Logits `[rows, vocab]` of the next tokens, and attention `[rows, source time]`.

        Row i reads `tokens[i]` after row `parents[i]` of the call before, and belongs to example `examples[i]`. In the
        first call row i is example i, and so are its parent and its state.
        """
        ...


class SearchPlan(NamedTuple):
    """What one example asks for. `max_steps` counts the end token."""

    num_beams: int
    max_steps: int
    length_penalty: float


class Hypothesis(NamedTuple):
    """A decoded sequence without its end token. `attention` is `[tokens, source time]`, without rows if not kept."""

    tokens: list[int]
    score: float
    attention: Array


def beam_search(model: StepModel, plans: Sequence[SearchPlan], keep_attention: bool = False) -> list[Hypothesis | None]:
    """The best hypothesis of each example; None where the model's numbers were not finite.

    A step's best `num_beams` candidates are looked at: those that end are set aside, and the beam is filled up again.
    An example is done when `num_beams` hypotheses have ended, when no open one can beat the best of them, or after
    `max_steps`; an open hypothesis wins only if none has ended. With one beam this is greedy decoding.
    """
    return _Search(model, plans, keep_attention).run()


class _Candidates(NamedTuple):
    """Possible next tokens, best first within each example. All arrays are `[candidates]`."""

    examples: IntArray
    rows: IntArray
    tokens: IntArray
    totals: DoubleArray

    def where(self, mask: Mask) -> _Candidates:
        return _Candidates(self.examples[mask], self.rows[mask], self.tokens[mask], self.totals[mask])

    def ranks(self) -> IntArray:
        """0 for the best of its example, 1 for the next, and so on."""
        return np.arange(len(self.examples)) - np.searchsorted(self.examples, self.examples)


class _Ending(NamedTuple):
    """Where a hypothesis stopped: the last token, and the row of that step that chose it."""

    step: int
    row: int
    token: int
    score: float


class _Search:
    """The beams of all examples that are still open. `_step` counts the log-probabilities in every total."""

    def __init__(self, model: StepModel, plans: Sequence[SearchPlan], keep_attention: bool) -> None:
        num_examples = len(plans)
        self._model = model
        self._num_beams = np.array([plan.num_beams for plan in plans])
        self._max_steps = np.array([plan.max_steps for plan in plans])
        self._length_penalty = np.array([plan.length_penalty for plan in plans])
        self._num_ended = np.zeros(num_examples, dtype=np.int64)
        self._best: list[_Ending | None] = [None] * num_examples
        self._best_score = np.full(num_examples, -np.inf)
        self._failed = np.zeros(num_examples, dtype=np.bool_)
        self._step = 0
        self._examples = np.arange(num_examples)
        self._totals = np.zeros(num_examples)
        # What each step was given, to trace hypotheses back with, and where it looked, if anyone asked.
        self._tokens: list[IntArray] = [np.full(num_examples, BOS, dtype=np.int64)]
        self._parents: list[IntArray] = [np.arange(num_examples)]
        self._keep_attention = keep_attention
        self._attention: list[Array] = []

    def run(self) -> list[Hypothesis | None]:
        while len(self._examples):
            self._advance()
        return [None if failed else self._trace(best) for failed, best in zip(self._failed, self._best, strict=True)]

    def _advance(self) -> None:
        logits, attention = self._model.step(self._tokens[-1], self._parents[-1], self._examples)
        self._step += 1
        if self._keep_attention:
            self._attention.append(attention)
        candidates = self._candidates(self._without_failures(logits))
        ended = (candidates.tokens == EOS) & (candidates.ranks() < self._num_beams[candidates.examples])
        self._set_aside(candidates.where(ended))
        open_ones = candidates.where(candidates.tokens != EOS)
        open_ones = open_ones.where(open_ones.ranks() < self._num_beams[open_ones.examples])
        self._continue(open_ones.where(~self._done(open_ones)[open_ones.examples]))

    def _without_failures(self, logits: Array) -> Array:
        """The logits, with finite stand-ins for the rows of examples that are given up."""
        broken: Mask = np.logical_not(np.isfinite(logits).all(axis=1))
        if not broken.any():
            return logits
        self._failed[self._examples[broken]] = True
        return np.where(broken[:, None], np.zeros_like(logits), logits)

    def _candidates(self, logits: Array) -> _Candidates:
        # Padding, unknown and begin, the ids below EOS, are never produced. One more candidate than beams, because the
        # end token may be among them and the beam is filled up without it.
        rows, columns = _largest(logits[:, EOS:], int(self._num_beams[self._examples].max()) + 1)
        tokens, examples = columns + EOS, self._examples[rows]
        totals = self._totals[rows] + logits[rows, tokens] - log_sum_exp(logits)[rows]
        order = np.lexsort((tokens, rows, -totals, examples))
        candidates = _Candidates(examples[order], rows[order], tokens[order], totals[order])
        return candidates.where(~self._failed[candidates.examples])

    def _set_aside(self, ended: _Candidates) -> None:
        scores = ended.totals / self._length_divisor(self._step)[ended.examples]
        for example, row, score in zip(ended.examples, ended.rows, scores, strict=True):
            self._num_ended[example] += 1
            if score > self._best_score[example]:
                self._best_score[example] = score
                self._best[example] = _Ending(self._step, int(row), EOS, float(score))

    def _done(self, open_ones: _Candidates) -> Mask:
        """`[examples]`: which examples need no further step. At its limit, one without an end takes its best beam."""
        leaders = open_ones.where(open_ones.ranks() == 0)
        attainable = np.full(len(self._best), -np.inf)
        attainable[leaders.examples] = leaders.totals / self._length_divisor(self._max_steps)[leaders.examples]
        at_limit = self._step >= self._max_steps
        for example, row, token in zip(leaders.examples, leaders.rows, leaders.tokens, strict=True):
            if at_limit[example] and self._best[example] is None:
                self._best[example] = _Ending(self._step, int(row), int(token), float(attainable[example]))
        return at_limit | (self._num_ended >= self._num_beams) | (self._best_score >= attainable)

    def _continue(self, beams: _Candidates) -> None:
        self._examples, self._totals = beams.examples, beams.totals
        self._tokens.append(beams.tokens)
        self._parents.append(beams.rows)

    def _length_divisor(self, length: int | IntArray) -> DoubleArray:
        divisor: DoubleArray = ((5.0 + length) / 6.0) ** self._length_penalty
        return divisor

    def _trace(self, ending: _Ending | None) -> Hypothesis | None:
        if ending is None:
            return None
        rows, tokens = [ending.row], [ending.token]
        for step in range(ending.step - 1, 0, -1):
            tokens.append(int(self._tokens[step][rows[-1]]))
            rows.append(int(self._parents[step][rows[-1]]))
        if ending.token == EOS:
            tokens, rows = tokens[1:], rows[1:]
        steps = zip(self._attention, reversed(rows), strict=False)
        return Hypothesis(tokens[::-1], ending.score, _stacked([attention[row] for attention, row in steps]))


def _largest(scores: Array, count: int) -> tuple[IntArray, IntArray]:
    """Rows and columns of each row's `count` largest entries, and of all that equal the least of those.

    Ties are kept so that what is found does not depend on `count`, which other examples in the batch decide.
    """
    count = min(count, scores.shape[1])
    threshold = np.partition(scores, -count, axis=1)[:, -count, None]
    rows, columns = np.divmod(np.flatnonzero(scores >= threshold), scores.shape[1])
    return rows, columns


def _stacked(rows: Sequence[Array]) -> Array:
    """`[tokens, source time]`; later steps may have been cut to a shorter time, which the zeros make up for."""
    time = max((len(row) for row in rows), default=0)
    matrix = np.zeros((len(rows), time), dtype=np.float32)
    for index, row in enumerate(rows):
        matrix[index, : len(row)] = row
    return matrix
