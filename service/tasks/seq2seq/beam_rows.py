"""The arrays of beam search: rows of open hypotheses, their extensions, and the scores of a step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.bundle.padding import IntArray
from service.bundle.tokenizer import BOS
from service.tasks.core.probabilities import DoubleArray
from service.tasks.core.task import Array
from service.tasks.seq2seq.hypotheses import HypothesisSearch

Mask = NDArray[np.bool_]

_FIRST_COLUMNS = 64


class Rows(NamedTuple):
    """Open hypotheses. All arrays are `[rows]`, except `written` and `origins`, `[rows, columns]`.

    Those are the tokens so far, and where each was copied from: a source position, or -1.
    """

    sentences: IntArray
    num_beams: IntArray
    max_steps: IntArray
    is_scored: Mask
    num_steps: IntArray
    tokens: IntArray
    totals: DoubleArray
    written: IntArray
    origins: IntArray

    @classmethod
    def fresh(cls, searches: Sequence[HypothesisSearch], first: int) -> Rows:
        """One row per sentence, which reads the begin token next; sentences are numbered from `first`."""
        size = len(searches)
        return cls(
            sentences=np.arange(first, first + size),
            num_beams=np.array([search.plan.num_beams for search in searches], dtype=np.int64),
            max_steps=np.array([search.plan.max_steps for search in searches], dtype=np.int64),
            is_scored=np.array([search.plan.is_scored for search in searches], dtype=np.bool_),
            num_steps=np.zeros(size, dtype=np.int64),
            tokens=np.full(size, BOS, dtype=np.int64),
            totals=np.zeros(size),
            written=np.zeros((size, _FIRST_COLUMNS), dtype=np.int64),
            origins=np.full((size, _FIRST_COLUMNS), -1, dtype=np.int64),
        )

    def joined(self, other: Rows) -> Rows:
        """The rows of both, those of `other` last."""
        columns = max(self.written.shape[1], other.written.shape[1])
        pairs = zip(self.widened(columns), other.widened(columns), strict=True)
        return Rows._make(np.concatenate(pair) for pair in pairs)

    def taken(self, index: IntArray) -> Rows:
        """Rows by index, in that order; an index may occur more than once."""
        return Rows._make(array[index] for array in self)

    def widened(self, columns: int) -> Rows:
        """Room for at least that many tokens in every row."""
        missing = columns - self.written.shape[1]
        if missing <= 0:
            return self
        margin = (0, 0), (0, missing)
        origins = np.pad(self.origins, margin, constant_values=-1)
        return self._replace(written=np.pad(self.written, margin), origins=origins)


class Extensions(NamedTuple):
    """Hypotheses extended by one token, all `[rows]`: the parent row, the new token, the total log-probability."""

    parents: IntArray
    tokens: IntArray
    totals: DoubleArray

    def where(self, chosen: Mask | IntArray) -> Extensions:
        return Extensions(self.parents[chosen], self.tokens[chosen], self.totals[chosen])

    def joined(self, other: Extensions) -> Extensions:
        return Extensions._make(np.concatenate(pair) for pair in zip(self, other, strict=True))


class Scores(NamedTuple):
    """Logits `[rows, vocab]` of a step, the best token of each row, and the normaliser of its log-softmax.

    `normalisers` is zero where no log-probabilities are needed.
    """

    logits: Array
    tokens: IntArray
    normalisers: DoubleArray
