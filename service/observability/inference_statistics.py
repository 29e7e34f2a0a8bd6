"""Counts and total times of one version of a model since it was loaded, as inference protocols report them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import NamedTuple

from service.observability.timings import Timings

#: Timings that are kept until they are summed.
_MOST_KEPT = 1024


class Total(NamedTuple):
    """How often something happened, and how long it took in all."""

    times: int = 0
    seconds: float = 0.0


class RunTotals:
    """Runs of graphs by the number of rows in them."""

    def __init__(self) -> None:
        self._times: dict[int, int] = {}
        self._seconds: dict[int, float] = {}

    @property
    def by_size(self) -> dict[int, Total]:
        """The runs so far."""
        return {size: Total(times, self._seconds[size]) for size, times in self._times.copy().items()}

    def add(self, size: int, seconds: float) -> None:
        """Count a run. Calls must not overlap."""
        self._seconds[size] = self._seconds.get(size, 0.0) + seconds
        self._times[size] = self._times.get(size, 0) + 1

    @classmethod
    def merged(cls, parts: Iterable[RunTotals]) -> RunTotals:
        """The sum of several."""
        whole = cls()
        for part in parts:
            for size, (times, seconds) in part.by_size.items():
                whole._times[size] = whole._times.get(size, 0) + times
                whole._seconds[size] = whole._seconds.get(size, 0.0) + seconds
        return whole


class InferenceStatistics:
    """Requests that one version of a model answered or failed. Only the event loop uses it.

    What every request adds is only kept, and summed when somebody asks or much has come.

    Attributes:
        num_inputs: inputs of the requests that were answered.
        last_s: when the last answer was ready, in seconds since 1970; 0 before the first.
    """

    def __init__(self) -> None:
        self.num_inputs = self._num_answered = self._num_failed = 0
        self.last_s = self._answered_ms = self._failed_s = 0.0
        self._preprocess_ms = self._queue_ms = self._inference_ms = self._postprocess_ms = 0.0
        self._kept: list[Timings] = []

    def succeed(self, timings: Timings, num_inputs: int) -> None:
        """Count a request that was answered."""
        self.num_inputs += num_inputs
        self.last_s = time.time()
        kept = self._kept
        kept.append(timings)
        if len(kept) >= _MOST_KEPT:
            self._sum()

    def fail(self, started_s: float) -> None:
        """Count a request that failed or was refused; it began at `started_s` by `time.monotonic()`."""
        self._num_failed += 1
        self._failed_s += time.monotonic() - started_s

    def refuse(self) -> None:
        """Count a request that was refused at once."""
        self._num_failed += 1

    @property
    def success(self) -> Total:
        """Requests that were answered, from the first look at their inputs to the end."""
        return self._of_answered("answered")

    @property
    def failure(self) -> Total:
        """Requests that failed or were refused, likewise."""
        return Total(self._num_failed, self._failed_s)

    @property
    def preprocess(self) -> Total:
        """Of the requests that were answered, as are the other stages."""
        return self._of_answered("preprocess")

    @property
    def queue(self) -> Total:
        """From the queue to the run."""
        return self._of_answered("queue")

    @property
    def inference(self) -> Total:
        """In the graph."""
        return self._of_answered("inference")

    @property
    def postprocess(self) -> Total:
        """From the run to the answer."""
        return self._of_answered("postprocess")

    def _sum(self) -> None:
        """Add up what was kept so far."""
        kept, self._kept = self._kept, []
        self._num_answered += len(kept)
        for preprocess_ms, queue_ms, inference_ms, postprocess_ms, total_ms, _ in kept:
            self._answered_ms += total_ms
            self._preprocess_ms += preprocess_ms
            self._queue_ms += queue_ms
            self._inference_ms += inference_ms
            self._postprocess_ms += postprocess_ms

    def _of_answered(self, stage: str) -> Total:
        self._sum()
        milliseconds: float = getattr(self, f"_{stage}_ms")
        return Total(self._num_answered, milliseconds / 1000)
