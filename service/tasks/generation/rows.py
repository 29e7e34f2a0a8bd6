"""The rows of a decode step: live sequences that choose a token each, then prompts that are read in the same steps.

Row i of the token ids, of the recurrent state `[layers, rows, width]` and of the logits `[rows, vocab]` belong to each
other.
Two steps with the live sequences A and B, and the prompt C of the tokens c0 c1, which is read along with them:

    step   row 0   row 1   row 2   what comes of it
    1      a3      b7      c0      A chooses a4. B chooses the end token, so it is done. C chooses nothing: its logits
                                   after c0 score a token that is known already.
           arrange: keep row 0, drop row 1, make row 2 live, because one token of C is left. The state of the next step
           is `state.rows([0, 2])`, and its tokens are a4 and c1, the last token of the prompt.
    2      a4      c1              A chooses a5, and C chooses c2, its first token.

The last token of a prompt is read by a step like every chosen token, so that all choices come from the logits of one
graph, however the rest of the prompt was read.

Invariants:

- Live rows are rows 0 to n - 1, prompts follow. Their order changes only in `add` and `_arrange`, for the state and for
  the lists of sequences and prompts at once.
- As long as no row comes or goes, the arrays that a step returned are the feeds of the next one: nothing is copied.
- What a row chooses depends on its own logits, options and random numbers, never on its neighbours.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from service.bundle.padding import IntArray
from service.bundle.tokenizer import EOS
from service.errors import InferenceFailed
from service.tasks.core.probabilities import DoubleArray
from service.tasks.core.recurrent_state import RecurrentState
from service.tasks.core.task import Array
from service.tasks.generation.prompt_reader import PromptReader
from service.tasks.generation.request import GenerationRequest
from service.tasks.generation.result import TokenEvent
from service.tasks.generation.sampling import Choice, RowRules
from service.tasks.generation.sequence import GeneratedSequence, count_matrix

_NOT_FINITE = "the model computed token scores that are not finite numbers"


class StepRows:
    """Live rows first, then one row for each prompt. A prompt with one token left becomes live."""

    def __init__(self, nothing: RecurrentState) -> None:
        """`nothing` is a state without rows."""
        self.state = nothing
        self.readers: list[PromptReader[GenerationRequest]] = []
        self._live = LiveRows([], np.empty(0, dtype=np.int64))

    @property
    def requests(self) -> list[GenerationRequest]:
        """The requests that the rows belong to, each once."""
        requests = [*(row.request for row in self._live.rows), *(reader.request for reader in self.readers)]
        # By identity: several rows may belong to one request, and requests with equal contents are not the same.
        return list({id(request): request for request in requests}.values())

    @property
    def num_rows(self) -> int:
        """Rows in use. A prompt has one row, but counts with as many as it will have sequences."""
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
        """Give every sequence the tokens that were chosen for it so far."""
        self._live.settle()

    def add(self, readers: Sequence[PromptReader[GenerationRequest]]) -> None:
        """Add prompts; those with one token left are live from the next step on."""
        self.state = RecurrentState.joined([self.state, *(reader.state for reader in readers)])
        self.readers += readers
        self._arrange(lambda _: True)

    def remove(self, is_gone: Callable[[GenerationRequest], bool]) -> None:
        """Free the rows of some requests."""
        self._arrange(lambda request: not is_gone(request))

    def take(self, logits: Array, state: RecurrentState) -> list[RowEvent]:
        """Process the result of a step: live rows choose, prompts move on by a token, rows that are done are freed."""
        self.state = state
        num_live = self.num_live
        for number, reader in enumerate(self.readers, start=num_live):
            # The row is copied out of the state only if a checkpoint of the prompt is due.
            reader.move_on(1, partial(state.rows, [number]))
        events = self._choose(logits[:num_live]) if num_live else []
        has_ended = any(event is None or event.finish_reason is not None for _, event in events)
        if has_ended or self._live.has_states_on_the_way:
            self._keep_states(events)
        # Unless a row has ended, rows change only where a prompt has come to its last token.
        if has_ended or any(reader.num_before_last == 0 for reader in self.readers):
            self._arrange(lambda request: request.error is None)
        return events

    def _choose(self, logits: Array) -> list[RowEvent]:
        if np.isfinite(logits).all():
            return self._live.accept(logits)
        spoiled = [self._live.rows[n] for n in np.flatnonzero(~np.isfinite(logits).all(axis=1)).tolist()]
        for row in spoiled:
            row.sequence.error = InferenceFailed(_NOT_FINITE)
        # What the failed rows choose is discarded. Zeros in their place leave the choices of all others as they are.
        events = self._live.accept(np.where(np.isfinite(logits), logits, 0.0))
        return [RowEvent(row, None) for row in spoiled] + [one for one in events if one.row not in spoiled]

    def _keep_states(self, events: Sequence[RowEvent]) -> None:
        """Keep the states that clients asked for: at the end of a text, or after every so many of its tokens."""
        wanted = {id(row.sequence) for row, _ in events if row.sequence.wants_state}
        for number, row in enumerate(self._live.rows if wanted else ()):
            if id(row.sequence) in wanted:
                row.sequence.keep_state(self.state.rows([number]))

    def _arrange(self, is_kept: Callable[[GenerationRequest], bool]) -> None:
        """Drop rows that are done or not kept, and move prompts with one token left behind the live rows."""
        live = [n for n, row in enumerate(self._live.rows) if not row.sequence.is_done and is_kept(row.request)]
        readers = [(n, reader) for n, reader in enumerate(self.readers, self.num_live) if is_kept(reader.request)]
        ready = [(n, reader) for n, reader in readers if reader.num_before_last == 0]
        others = [(n, reader) for n, reader in readers if reader.num_before_last > 0]
        if len(live) == self.num_live and len(others) == len(self.readers):
            return  # no row comes or goes: keep the arrays
        # A prompt was read in one row. Each of its sequences starts with a copy of that row, so `n` may occur often.
        new = [(n, reader, sequence) for n, reader in ready for sequence in reader.request.sequences]
        self.state = self.state.rows([*live, *(n for n, _, _ in new), *(n for n, _ in others)])
        if new or len(live) < self.num_live:
            rows = [Row(reader.request, sequence) for _, reader, sequence in new]
            self._live = self._live.changed(live, rows, [reader.ids[-1] for _, reader, _ in new])
        self.readers = [reader for _, reader in others]


logger = logging.getLogger(__name__)


class Row(NamedTuple):
    """A live row: the sequence that chooses in it, and the request that the sequence belongs to."""

    request: GenerationRequest
    sequence: GeneratedSequence


class RowEvent(NamedTuple):
    """What a choice means for a row: the event of its token, or None for a row that is done without one."""

    row: Row
    event: TokenEvent | None


class LiveRows:
    """Rows `0..n-1`, which choose a token at each step. What a choice needs is prepared once per change of rows.

    A sequence is followed if it needs each token at once: because it is streamed, because its tokens are listed, or
    because a stop string may end it. All others get their tokens in bulk, when rows change: a step then costs no Python
    code per row, only array operations over all of them.

    Attributes:
        token_ids: `[rows]`, the newest token of each row, which the next step reads.
        has_states_on_the_way: whether a row has to keep states before its end.
    """

    def __init__(self, rows: Sequence[Row], token_ids: IntArray) -> None:
        self.rows = tuple(rows)
        self.token_ids = token_ids
        sequences = [row.sequence for row in rows]
        self._rules = RowRules([sequence.row_options for sequence in sequences])
        self._numbers = [numbers for sequence in sequences if (numbers := sequence.numbers) is not None]
        #: Rows with a constraint, ascending.
        self._constrained = [
            (number, constrained)
            for number, sequence in enumerate(sequences)
            if (constrained := sequence.constrained) is not None
        ]
        self._counts = count_matrix([sequences[row] for row in self._rules.penalised])
        self._num_left: IntArray = np.array([sequence.num_left for sequence in sequences], dtype=np.int64)
        self._followed = [number for number, sequence in enumerate(sequences) if sequence.is_followed]
        self.has_states_on_the_way = any(sequence.has_states_on_the_way for sequence in sequences)
        #: `[rows]` per step since rows changed last: the tokens that sequences which are not followed have yet to get.
        self._unseen: list[IntArray] = []

    def accept(self, logits: Array) -> list[RowEvent]:
        """Choose the next token of every row by `logits` `[rows, vocab]`, which must be finite."""
        # One number per step for each row that draws, from the row's own generator: a choice depends on no neighbour.
        numbers = [next(stream) for stream in self._numbers]
        allowed = [constrained.allowed for _, constrained in self._constrained]
        choice = self._rules.choose(logits, numbers, self._counts, allowed)
        if self._counts is not None:
            # `[penalised, 2, vocab]`: the token counts as read and as produced, hence the colon.
            self._counts[np.arange(len(self._counts)), :, choice.token_ids[self._rules.penalised]] += 1
        for number, constrained in self._constrained:
            constrained.append(int(choice.token_ids[number]))
        self.token_ids = choice.token_ids
        self._unseen.append(choice.token_ids)
        self._num_left -= 1
        events = self._follow(choice) if self._followed else []
        is_last = (choice.token_ids == EOS) | (self._num_left <= 0)
        if is_last.any():
            self.settle()  # so that the sequences that end know all their tokens, and that they have ended
            events += [RowEvent(row, None) for row in self._at(is_last) if not row.sequence.is_followed]
        return events

    def settle(self) -> None:
        """Give the sequences that are not followed the tokens chosen since rows changed last."""
        if self._unseen:
            # `[rows, steps]`
            for row, token_ids in zip(self.rows, np.stack(self._unseen, axis=1).tolist(), strict=True):
                if not row.sequence.is_followed:
                    row.sequence.extend(token_ids)
            self._unseen = []

    def changed(self, kept: Sequence[int], new_rows: Sequence[Row], new_token_ids: Sequence[int]) -> LiveRows:
        """The rows numbered `kept`, then new ones with the tokens that they read first."""
        self.settle()
        token_ids = np.concatenate(
            [self.token_ids[np.array(kept, dtype=np.int64)], np.array(new_token_ids, dtype=np.int64)]
        )
        return LiveRows([*(self.rows[number] for number in kept), *new_rows], token_ids)

    def _follow(self, choice: Choice) -> list[RowEvent]:
        """Pass each followed sequence its token. An exception in one fails that request alone."""
        token_ids: list[int] = choice.token_ids.tolist()
        reported = self._reported(choice)
        events = []
        for number in self._followed:
            row, event = self.rows[number], None
            try:
                event = row.sequence.follow(token_ids[number], reported.get(number))
            except Exception as error:
                logger.exception("a token could not be used")
                row.sequence.error = InferenceFailed(f"using a token failed with {type(error).__name__}")
            if event is not None or row.sequence.is_done:
                events.append(RowEvent(row, event))
        return events

    def _reported(self, choice: Choice) -> dict[int, tuple[float, DoubleArray]]:
        """For each reporting row the log-probability of its token, and those of all, `[vocab]`."""
        rows, scores = self._rules.reporting, choice.log_probabilities
        if scores is None:
            return {}
        chosen = scores[np.arange(len(rows)), choice.token_ids[rows]].tolist()
        return dict(zip(rows, zip(chosen, scores, strict=True), strict=True))

    def _at(self, is_wanted: Array) -> list[Row]:
        return [self.rows[number] for number in np.flatnonzero(is_wanted).tolist()]
