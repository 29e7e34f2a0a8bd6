"""All rows of a step: texts that choose a token each, and prompts that are read one token at a time beside them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from service.bundle.padding import IntArray
from service.bundle.tokenizer import EOS
from service.errors import InferenceFailed
from service.tasks.core.recurrent_state import RecurrentState
from service.tasks.core.task import Array
from service.tasks.generation.prompt_reader import PromptReader
from service.tasks.generation.request import GenerationRequest
from service.tasks.generation.result import TokenEvent
from service.tasks.generation.sampling import Choice, RowRules
from service.tasks.generation.sequence import GeneratedSequence, count_matrix

_NOT_FINITE = "the model computed token scores that are not finite numbers"


class StepRows:
    """Live rows come first, then one row for each prompt; a prompt that comes to its last token becomes live.

    As long as nothing changes, a step's states are the next step's, and nothing is copied.
    """

    def __init__(self, nothing: RecurrentState) -> None:
        """`nothing` is a state of no rows."""
        self.state = nothing
        self.readers: list[PromptReader[GenerationRequest]] = []
        self._live = LiveRows([], np.empty(0, dtype=np.int64))

    @property
    def requests(self) -> list[GenerationRequest]:
        """Whom the rows belong to, each once."""
        requests = [*(row.request for row in self._live.rows), *(reader.request for reader in self.readers)]
        return list({id(request): request for request in requests}.values())

    @property
    def num_rows(self) -> int:
        """Rows in use; a prompt counts with those that it will have."""
        return self.num_live + sum(reader.request.num_rows for reader in self.readers)

    @property
    def num_live(self) -> int:
        """Rows that choose tokens."""
        return len(self._live.rows)

    @property
    def token_ids(self) -> IntArray:
        """`[rows]`: what the next step reads."""
        if not self.readers:
            return self._live.token_ids
        return np.concatenate([self._live.token_ids, [reader.ids[reader.num_read] for reader in self.readers]])

    def settle(self) -> None:
        """Let every request know what it was given so far."""
        self._live.settle()

    def add(self, readers: Sequence[PromptReader[GenerationRequest]]) -> None:
        """Take prompts in; those with one token left are live from the next step on."""
        self.state = RecurrentState.joined([self.state, *(reader.state for reader in readers)])
        self.readers += readers
        self._arrange(lambda _: True)

    def remove(self, is_gone: Callable[[GenerationRequest], bool]) -> None:
        """Free the rows of some requests."""
        self._arrange(lambda request: not is_gone(request))

    def take(self, logits: Array, state: RecurrentState) -> list[RowEvent]:
        """Take in what a step gave: every live row chooses, every prompt moves on; rows that are done are free."""
        self.state = state
        num_live = self.num_live
        for number, reader in enumerate(self.readers, start=num_live):
            reader.move_on(1, partial(state.rows, [number]))
        events = self._choose(logits[:num_live]) if num_live else []
        if events:
            self._keep_states(events)
        if events or any(reader.num_before_last == 0 for reader in self.readers):
            self._arrange(lambda request: request.error is None)
        return events

    def _choose(self, logits: Array) -> list[RowEvent]:
        if np.isfinite(logits).all():
            return self._live.accept(logits)
        spoiled = [self._live.rows[n] for n in np.flatnonzero(~np.isfinite(logits).all(axis=1)).tolist()]
        for row in spoiled:
            row.sequence.error = InferenceFailed(_NOT_FINITE)
        # What they choose is never told; the others choose as if nothing were wrong.
        events = self._live.accept(np.where(np.isfinite(logits), logits, 0.0))
        return [RowEvent(row, None) for row in spoiled] + [one for one in events if one.row not in spoiled]

    def _keep_states(self, events: Sequence[RowEvent]) -> None:
        """Put states aside that somebody wants to go on from: at the end of a text, or on its way."""
        wanted = {id(row.sequence) for row, _ in events if row.sequence.wants_state}
        for number, row in enumerate(self._live.rows if wanted else ()):
            if id(row.sequence) in wanted:
                row.sequence.keep_state(self.state.rows([number]))

    def _arrange(self, is_kept: Callable[[GenerationRequest], bool]) -> None:
        """Take out the rows that are done or not kept, and put prompts at their last token behind the live rows."""
        live = [n for n, row in enumerate(self._live.rows) if not row.sequence.is_done and is_kept(row.request)]
        readers = [(n, reader) for n, reader in enumerate(self.readers, self.num_live) if is_kept(reader.request)]
        ready = [(n, reader) for n, reader in readers if reader.num_before_last == 0]
        others = [(n, reader) for n, reader in readers if reader.num_before_last > 0]
        if len(live) == self.num_live and len(others) == len(self.readers):
            return
        new = [(n, reader, sequence) for n, reader in ready for sequence in reader.request.sequences]
        self.state = self.state.rows([*live, *(n for n, _, _ in new), *(n for n, _ in others)])
        if new or len(live) < self.num_live:
            rows = [Row(reader.request, sequence) for _, reader, sequence in new]
            self._live = self._live.changed(live, rows, [reader.ids[-1] for _, reader, _ in new])
        self.readers = [reader for _, reader in others]


logger = logging.getLogger(__name__)


class Row(NamedTuple):
    """One row of a batch: a sequence, and the request that it belongs to."""

    request: GenerationRequest
    sequence: GeneratedSequence


class RowEvent(NamedTuple):
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
        sequences = [row.sequence for row in rows]
        self._rules = RowRules([sequence.row_options for sequence in sequences])
        self._numbers = [numbers for sequence in sequences if (numbers := sequence.numbers) is not None]
        self._counts = count_matrix([sequences[row] for row in self._rules.penalised])
        self._num_left: IntArray = np.array([sequence.num_left for sequence in sequences], dtype=np.int64)
        self._followed = [number for number, sequence in enumerate(sequences) if sequence.is_followed]
        #: What was chosen since the rows changed last: the sequences that are not followed have not seen it yet.
        self._unseen: list[IntArray] = []

    def accept(self, logits: Array) -> list[RowEvent]:
        """Choose the next token of every row by `logits` `[rows, vocab]`, which must be finite."""
        numbers = [next(stream) for stream in self._numbers]
        choice = self._rules.choose(logits, numbers, self._counts)
        if self._counts is not None:
            self._counts[np.arange(len(self._counts)), :, choice.token_ids[self._rules.penalised]] += 1
        self.token_ids = choice.token_ids
        self._unseen.append(choice.token_ids)
        self._num_left -= 1
        events = self._follow(choice) if self._followed else []
        is_last = (choice.token_ids == EOS) | (self._num_left <= 0)
        if is_last.any():
            self.settle()
            events += [RowEvent(row, None) for row in self._at(is_last) if not row.sequence.is_followed]
        return events

    def settle(self) -> None:
        """Give the sequences that do not follow along the tokens that were chosen for them."""
        if self._unseen:
            for row, token_ids in zip(self.rows, np.stack(self._unseen, axis=1).tolist(), strict=True):
                if not row.sequence.is_followed:
                    row.sequence.extend(token_ids)
            self._unseen = []

    def changed(self, kept: Sequence[int], new_rows: Sequence[Row], new_token_ids: Sequence[int]) -> LiveRows:
        """These of the rows, by number, then new ones with the tokens that they read first."""
        self.settle()
        token_ids = np.concatenate(
            [self.token_ids[np.array(kept, dtype=np.int64)], np.array(new_token_ids, dtype=np.int64)]
        )
        return LiveRows([*(self.rows[number] for number in kept), *new_rows], token_ids)

    def _follow(self, choice: Choice) -> list[RowEvent]:
        """What the followed rows have to say of their tokens. One that fails must not end its neighbours."""
        log_probabilities = () if choice.log_probabilities is None else choice.log_probabilities
        reported = dict(zip(self._rules.reporting, log_probabilities, strict=True))
        events = []
        for number in self._followed:
            row, event = self.rows[number], None
            try:
                event = row.sequence.follow(int(choice.token_ids[number]), reported.get(number))
            except Exception as error:
                logger.exception("a token could not be used")
                row.sequence.error = InferenceFailed(f"using a token failed with {type(error).__name__}")
            if event is not None or row.sequence.is_done:
                events.append(RowEvent(row, event))
        return events

    def _at(self, is_wanted: Array) -> list[Row]:
        return [self.rows[number] for number in np.flatnonzero(is_wanted).tolist()]
