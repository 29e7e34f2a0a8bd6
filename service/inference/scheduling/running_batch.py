"""A batch that is being stepped, and the streams in it: what one lane at a time takes a run further."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Sequence
from typing import Generic

from service.errors import InferenceFailed
from service.inference.scheduling.stream import Stream
from service.tasks.core.step_batch import Outcome, RequestT, StepBatch
from service.tasks.core.task import Runner

logger = logging.getLogger(__name__)

Handed = tuple[Stream[RequestT], Outcome[RequestT]]


class RunningBatch(Generic[RequestT]):
    """Whoever chooses a group sets `is_running`, and nobody else touches it until that is false again.

    Attributes:
        num_rows: rows in use after the last run.
        ready_since_s: when the last run ended, on `time.monotonic()`'s clock.
        leaving: streams that ended early and still have rows. Any thread may append.
    """

    def __init__(self, model: str, batch: StepBatch[RequestT]) -> None:
        self.num_rows = 0
        self.ready_since_s = 0.0
        self.is_running = False
        self.leaving: deque[Stream[RequestT]] = deque()
        self._model = model
        self._batch = batch
        self._streams: dict[int, Stream[RequestT]] = {}

    @property
    def is_ready(self) -> bool:
        """Whether it could be taken further right now."""
        return not self.is_running and self.num_rows > 0

    def advance(self, runner: Runner, joining: Sequence[Stream[RequestT]]) -> list[Handed[RequestT]]:
        """Let streams leave and join, then make one run: what came of it, by stream."""
        self._streams |= {id(stream.request): stream for stream in joining}
        try:
            outcomes = self._advance(runner, joining)
        except Exception:  # a fault of the batch itself: nothing in it can be relied on
            logger.exception("a batch broke", extra={"model": self._model, "rows": self.num_rows})
            outcomes = self._break()
        handed = [(self._streams[id(outcome.request)], outcome) for outcome in outcomes]
        for stream, outcome in handed:
            if outcome.finished:
                del self._streams[id(stream.request)]
        self.num_rows = self._batch.num_rows
        self.ready_since_s = time.monotonic()
        return handed

    def _advance(self, runner: Runner, joining: Sequence[Stream[RequestT]]) -> list[Outcome[RequestT]]:
        if joining:
            self._batch.join([stream.request for stream in joining])
        while self.leaving:  # after joining: a stream may end between being chosen and this run
            left = self.leaving.popleft()
            self._batch.leave([left.request])
            self._streams.pop(id(left.request), None)
        return [] if self._batch.is_idle else self._batch.advance(runner)

    def _break(self) -> list[Outcome[RequestT]]:
        """Start with nothing again; every stream in the group fails."""
        self._batch.clear()
        error = InferenceFailed(f"{self._model} failed while its batch was taken further")
        return [Outcome(stream.request, error=error, finished=True) for stream in self._streams.values()]
