"""The rows of a generation batch that choose tokens, and what they choose by, as arrays."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from service.bundle.padding import IntArray
from service.bundle.tokenizer import EOS
from service.errors import InferenceFailed
from service.tasks.base import Array
from service.tasks.branch import Branch, count_matrix
from service.tasks.continuation import Continuation
from service.tasks.decoding import Choice, RowRules
from service.tasks.generation_answer import TokenEvent

logger = logging.getLogger(__name__)


class Row(NamedTuple):
    """One row of a batch: a branch, and the request that it belongs to."""

    request: Continuation
    branch: Branch


class Said(NamedTuple):
    """A row that has something to say after a choice: the event of its token, or that it is done, or both."""

    row: Row
    event: TokenEvent | None


class LiveRows:
    """Rows `0..n-1` that choose a token at each step. What a choice needs is prepared once for each change of rows.

    Attributes:
        token_ids: `[rows]`, the newest token of each, which the next step reads.
    """

    def __init__(self, rows: Sequence[Row], token_ids: IntArray) -> None:
        self.rows = tuple(rows)
        self.token_ids = token_ids
        branches = [row.branch for row in rows]
        self._rules = RowRules([branch.wish for branch in branches])
        self._numbers = [numbers for branch in branches if (numbers := branch.numbers) is not None]
        self._counts = count_matrix([branches[row] for row in self._rules.penalised])
        self._num_left: IntArray = np.array([branch.num_left for branch in branches], dtype=np.int64)
        self._followed = [number for number, branch in enumerate(branches) if branch.is_followed]
        #: What was chosen since the rows changed last: the branches that are not followed have not seen it yet.
        self._unseen: list[IntArray] = []

    def accept(self, logits: Array) -> list[Said]:
        """Choose the next token of every row by `logits` `[rows, vocab]`, which must be finite."""
        numbers = [next(stream) for stream in self._numbers]
        choice = self._rules.choose(logits, numbers, self._counts)
        if self._counts is not None:
            self._counts[np.arange(len(self._counts)), :, choice.token_ids[self._rules.penalised]] += 1
        self.token_ids = choice.token_ids
        self._unseen.append(choice.token_ids)
        self._num_left -= 1
        said = self._follow(choice) if self._followed else []
        is_last = (choice.token_ids == EOS) | (self._num_left <= 0)
        if is_last.any():
            self.settle()
            said += [Said(row, None) for row in self._at(is_last) if not row.branch.is_followed]
        return said

    def settle(self) -> None:
        """Give the branches that do not follow along the tokens that were chosen for them."""
        if self._unseen:
            for row, token_ids in zip(self.rows, np.stack(self._unseen, axis=1).tolist(), strict=True):
                if not row.branch.is_followed:
                    row.branch.extend(token_ids)
            self._unseen = []

    def changed(self, kept: Sequence[int], new_rows: Sequence[Row], new_token_ids: Sequence[int]) -> LiveRows:
        """These of the rows, by number, then new ones with the tokens that they read first."""
        self.settle()
        token_ids = np.concatenate(
            [self.token_ids[np.array(kept, dtype=np.int64)], np.array(new_token_ids, dtype=np.int64)]
        )
        return LiveRows([*(self.rows[number] for number in kept), *new_rows], token_ids)

    def _follow(self, choice: Choice) -> list[Said]:
        """What the followed rows have to say of their tokens. One that fails must not end its neighbours."""
        log_probabilities = () if choice.log_probabilities is None else choice.log_probabilities
        reported = dict(zip(self._rules.reporting, log_probabilities, strict=True))
        said = []
        for number in self._followed:
            row, event = self.rows[number], None
            try:
                event = row.branch.follow(int(choice.token_ids[number]), reported.get(number))
            except Exception as error:
                logger.exception("a token could not be used")
                row.branch.error = InferenceFailed(f"using a token failed with {type(error).__name__}")
            if event is not None or row.branch.is_done:
                said.append(Said(row, event))
        return said

    def _at(self, is_wanted: Array) -> list[Row]:
        return [self.rows[number] for number in np.flatnonzero(is_wanted).tolist()]
