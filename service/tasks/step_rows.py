"""All rows of a step: texts that choose a token each, and prompts that are read one token at a time beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from service.bundle.padding import IntArray
from service.errors import InferenceFailed
from service.tasks.base import Array
from service.tasks.continuation import Continuation
from service.tasks.live_rows import LiveRows, Row, Said
from service.tasks.prompt_reader import PromptReader
from service.tasks.recurrent_state import RecurrentState

_NOT_FINITE = "the model computed token scores that are not finite numbers"


class StepRows:
    """Live rows come first, then one row for each prompt; a prompt that comes to its last token becomes live.

    As long as nothing changes, a step's states are the next step's, and nothing is copied.
    """

    def __init__(self, nothing: RecurrentState) -> None:
        """`nothing` is a state of no rows."""
        self.state = nothing
        self.readers: list[PromptReader] = []
        self._live = LiveRows([], np.empty(0, dtype=np.int64))

    @property
    def requests(self) -> list[Continuation]:
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

    def add(self, readers: Sequence[PromptReader]) -> None:
        """Take prompts in; those with one token left are live from the next step on."""
        self.state = RecurrentState.joined([self.state, *(reader.state for reader in readers)])
        self.readers += readers
        self._arrange(lambda _: True)

    def remove(self, is_gone: Callable[[Continuation], bool]) -> None:
        """Free the rows of some requests."""
        self._arrange(lambda request: not is_gone(request))

    def take(self, logits: Array, state: RecurrentState) -> list[Said]:
        """Take in what a step gave: every live row chooses, every prompt moves on; rows that are done are free."""
        self.state = state
        num_live = self.num_live
        for number, reader in enumerate(self.readers, start=num_live):
            reader.move_on(1, partial(state.rows, [number]))
        said = self._choose(logits[:num_live]) if num_live else []
        if said:
            self._keep_states(said)
        if said or any(reader.num_before_last == 0 for reader in self.readers):
            self._arrange(lambda request: request.error is None)
        return said

    def _choose(self, logits: Array) -> list[Said]:
        if np.isfinite(logits).all():
            return self._live.accept(logits)
        spoiled = [self._live.rows[n] for n in np.flatnonzero(~np.isfinite(logits).all(axis=1)).tolist()]
        for row in spoiled:
            row.branch.error = InferenceFailed(_NOT_FINITE)
        # What they choose is never told; the others choose as if nothing were wrong.
        said = self._live.accept(np.where(np.isfinite(logits), logits, 0.0))
        return [Said(row, None) for row in spoiled] + [one for one in said if one.row not in spoiled]

    def _keep_states(self, said: Sequence[Said]) -> None:
        """Put states aside that somebody wants to go on from: at the end of a text, or on its way."""
        wanted = {id(row.branch) for row, _ in said if row.branch.wants_state}
        for number, row in enumerate(self._live.rows if wanted else ()):
            if id(row.branch) in wanted:
                row.branch.keep_state(self.state.rows([number]))

    def _arrange(self, is_kept: Callable[[Continuation], bool]) -> None:
        """Take out the rows that are done or not kept, and put prompts at their last token behind the live rows."""
        live = [n for n, row in enumerate(self._live.rows) if not row.branch.is_done and is_kept(row.request)]
        readers = [(n, reader) for n, reader in enumerate(self.readers, self.num_live) if is_kept(reader.request)]
        ready = [(n, reader) for n, reader in readers if reader.num_before_last == 0]
        others = [(n, reader) for n, reader in readers if reader.num_before_last > 0]
        if len(live) == self.num_live and len(others) == len(self.readers):
            return
        new = [(n, reader, branch) for n, reader in ready for branch in reader.request.branches]
        self.state = self.state.rows([*live, *(n for n, _, _ in new), *(n for n, _ in others)])
        if new or len(live) < self.num_live:
            rows = [Row(reader.request, branch) for _, reader, branch in new]
            self._live = self._live.changed(live, rows, [reader.ids[-1] for _, reader, _ in new])
        self.readers = [reader for _, reader in others]
