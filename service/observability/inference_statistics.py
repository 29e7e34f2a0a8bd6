"""Counts and total times of one version of a model since it was loaded, as inference protocols report them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import NamedTuple

from service.observability.timings import Timings


class Total(NamedTuple):
    """How often something happened, and how long it took in all."""

    times: int = 0
    seconds: float = 0.0

    def plus(self, seconds: float) -> Total:
        """With one more that took so long."""
        return Total(self.times + 1, self.seconds + seconds)


class RunTotals:
    """Runs of graphs by the number of rows in them."""

    def __init__(self) -> None:
        self.by_size: dict[int, Total] = {}

    def add(self, size: int, seconds: float) -> None:
        """Count a run. Calls must not overlap."""
        self.by_size[size] = self.by_size.get(size, Total()).plus(seconds)

    @classmethod
    def merged(cls, parts: Iterable[RunTotals]) -> RunTotals:
        """The sum of several."""
        whole = cls()
        for part in parts:
            for size, (times, seconds) in part.by_size.copy().items():
                before = whole.by_size.get(size, Total())
                whole.by_size[size] = Total(before.times + times, before.seconds + seconds)
        return whole


class InferenceStatistics:
    """Requests that one version of a model answered or failed. Only the event loop uses it.

    Attributes:
        num_inputs: inputs of the requests that were answered.
        last_s: when the last answer was ready, in seconds since 1970; 0 before the first.
        success, failure: requests, with the time from the first look at their inputs to the end.
        preprocess, queue, inference, postprocess: the stages of the requests that were answered.
    """

    def __init__(self) -> None:
        self.num_inputs = 0
        self.last_s = 0.0
        self.success = self.failure = Total()
        self.preprocess = self.queue = self.inference = self.postprocess = Total()

    def succeed(self, timings: Timings, num_inputs: int) -> None:
        """Count a request that was answered."""
        self.num_inputs += num_inputs
        self.last_s = time.time()
        self.success = self.success.plus(timings.total_ms / 1000)
        self.preprocess = self.preprocess.plus(timings.preprocess_ms / 1000)
        self.queue = self.queue.plus(timings.queue_ms / 1000)
        self.inference = self.inference.plus(timings.inference_ms / 1000)
        self.postprocess = self.postprocess.plus(timings.postprocess_ms / 1000)

    def fail(self, started_s: float) -> None:
        """Count a request that failed or was refused; it began at `started_s` by `time.monotonic()`."""
        self.failure = self.failure.plus(time.monotonic() - started_s)
