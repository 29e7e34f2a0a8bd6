"""A running batch of continuous batching: a `StepBatch` with the streams of its requests, advanced one run at a time.

What one call of `advance` does, with the streams A and B in the batch, C waiting, and B closed by its reader meanwhile:

    join      C is taken in; its prompt is not read yet         streams A B C
    leave     B's rows are freed                                streams A C
    run       one run of one graph: it reads C, or steps A      outcomes by request
    hand      each outcome is paired with its stream; those that finished are forgotten

The task's batch knows requests, the event loop knows streams; this class is where the two are brought together.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Sequence
from typing import Generic

from service.errors import InferenceFailed
from service.inference.scheduling.fair_share import BACKGROUND, Turn
from service.inference.scheduling.stream import Stream
from service.tasks.core.step_batch import Outcome, RequestT, StepBatch
from service.tasks.core.task import Runner

logger = logging.getLogger(__name__)

Handed = tuple[Stream[RequestT], Outcome[RequestT]]


class RunningBatch(Generic[RequestT]):
    """The lane that chooses it sets `is_running`, and no other lane uses it until that is false again.

    Attributes:
        num_rows: rows in use after the last run, and those of streams that have been chosen to join.
        seconds_per_row: what its runs have taken so far, each divided by its rows: `RowClock`.
        ready_since_s: when the last run ended, on `time.monotonic()`'s clock.
        turn: its place among all that waits for the lanes; the streams in it share it.
        leaving: streams that ended early and still have rows. Any thread may append.
    """

    def __init__(self, model: str, batch: StepBatch[RequestT], turn: Turn) -> None:
        self.num_rows = 0
        self.seconds_per_row = 0.0
        self.turn = turn
        self.ready_since_s = 0.0
        self.is_running = False
        self.leaving: deque[Stream[RequestT]] = deque()
        self._model = model
        self._batch = batch
        #: By the identity of the request, as step batches tell requests apart.
        self._streams: dict[int, Stream[RequestT]] = {}

    @property
    def is_ready(self) -> bool:
        """Whether it is due for a run."""
        return not self.is_running and self.num_rows > 0

    def advance(self, runner: Runner, joining: Sequence[Stream[RequestT]]) -> list[Handed[RequestT]]:
        """Let streams join and leave, then make one run. Returns the outcomes, each with its stream."""
        started_s = time.monotonic()
        for stream in joining:
            self._streams[id(stream.request)] = stream
            stream.join(self)
        try:
            outcomes = self._advance(runner, joining)
        except Exception:  # a bug in the batch itself, so that its content cannot be relied on
            logger.exception("a batch broke", extra={"model": self._model, "rows": self.num_rows})
            outcomes = self._break()
        self.seconds_per_row += (time.monotonic() - started_s) / max(1, self.num_rows)
        handed = [(self._streams[id(outcome.request)], outcome) for outcome in outcomes]
        for stream, outcome in handed:
            if outcome.finished:
                del self._streams[id(stream.request)]
        is_background = all(stream.turn.caller == BACKGROUND for stream in self._streams.values())
        self.turn.caller = BACKGROUND if is_background and self._streams else ""
        self.num_rows = self._batch.num_rows
        self.ready_since_s = time.monotonic()
        return handed

    def _advance(self, runner: Runner, joining: Sequence[Stream[RequestT]]) -> list[Outcome[RequestT]]:
        if joining:
            self._batch.join([stream.request for stream in joining])
        while self.leaving:  # after joining, because a stream may end between being chosen and this run
            left = self.leaving.popleft()
            self._batch.leave([left.request])
            self._streams.pop(id(left.request), None)
        return [] if self._batch.is_idle else self._batch.advance(runner)

    def _break(self) -> list[Outcome[RequestT]]:
        """Empty the batch; every stream in it fails."""
        self._batch.clear()
        error = InferenceFailed(f"{self._model} failed while its batch was run")
        return [Outcome(stream.request, error=error, finished=True) for stream in self._streams.values()]
