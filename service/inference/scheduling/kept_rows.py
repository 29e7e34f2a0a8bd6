"""Rows of a continuous batcher that are kept for those who have none.

A request with many long texts would otherwise hold every row until the first of its texts ends, and a caller with many
streams likewise. The rows are beyond those of all, so that nobody has fewer: a quarter of them for callers with nothing
in a batch, and half of that quarter also for short requests with nothing in a batch, whoever asks.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Generic

from service.inference.scheduling.fair_share import SEVERAL_RUNS_S
from service.inference.scheduling.stream import Stream
from service.tasks.core.step_batch import RequestT

#: The part of the rows, and of a full queue, that is kept.
RESERVED = 0.25


class KeptRows(Generic[RequestT]):
    """Which streams are in them. Only a lane that holds the lock changes it, but a stream may leave at any time."""

    def __init__(self, max_rows: int) -> None:
        """`max_rows` are those of all; a quarter as many are kept."""
        self._num_rows = int(max_rows * RESERVED)
        self._streams: set[Stream[RequestT]] = set()

    @property
    def num_used(self) -> int:
        """Rows in use."""
        return sum([stream.request.num_rows for stream in tuple(self._streams)])

    def free(self, stream: Stream[RequestT]) -> None:
        """The stream has left its batch, whether or not it was in kept rows."""
        self._streams.discard(stream)

    def take_first(self, waiting: Iterable[Stream[RequestT]], live: Iterable[Stream[Any]]) -> list[Stream[RequestT]]:
        """The first waiting stream that may use these rows and fits them, now in them; `live` are those in batches."""
        num_used = self.num_used
        if num_used >= self._num_rows:
            return []
        live = tuple(live)
        turns, callers = {id(stream.turn) for stream in live}, {stream.turn.caller for stream in live}
        for stream in waiting:
            is_new_caller, is_long = stream.turn.caller not in callers, stream.turn.run_s >= SEVERAL_RUNS_S
            if id(stream.turn) in turns or (is_long and not is_new_caller):
                continue
            room = (self._num_rows if is_new_caller else self._num_rows // 2) - num_used
            if stream.request.num_rows <= room:
                self._streams.add(stream)
                return [stream]
        return []
