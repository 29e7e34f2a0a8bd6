"""Where the time of one prediction went."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from prometheus_client.core import Metric
from prometheus_client.registry import CollectorRegistry

from service.observability.collectors import LoopHistogram, LoopObservations

#: Of a prediction, in the order of `Timings`.
_STAGES = ("preprocess", "queue", "inference", "postprocess")

#: Timings that are kept until they are observed.
_MOST_KEPT = 1024


class Timings(NamedTuple):
    """Durations of the stages of one request, in milliseconds.

    The inputs of a request may run in several batches: queue and inference are those of the last to finish, and
    `batch_size` is that of the largest.
    """

    preprocess_ms: float
    queue_ms: float
    inference_ms: float
    postprocess_ms: float
    total_ms: float
    batch_size: int


def in_succession(parts: Sequence[Timings]) -> Timings:
    """The timings of a request that was taken in parts, one after the other."""
    return Timings(
        sum(part.preprocess_ms for part in parts),
        sum(part.queue_ms for part in parts),
        sum(part.inference_ms for part in parts),
        sum(part.postprocess_ms for part in parts),
        sum(part.total_ms for part in parts),
        max(part.batch_size for part in parts),
    )


class StageDurations:
    """The durations of the stages of all predictions of a model, which are observed when somebody reads them.

    Any thread may use it.
    """

    def __init__(self, series: Sequence[LoopObservations]) -> None:
        """`series` are those of the stages, in seconds, in the order of `Timings`."""
        self._series = series
        self._kept: deque[Timings] = deque()

    def keep(self, timings: Timings) -> None:
        """Count a prediction."""
        self._kept.append(timings)
        if len(self._kept) >= _MOST_KEPT:
            self.observe()

    def observe(self) -> None:
        """Observe what was kept so far."""
        for _ in range(len(self._kept)):
            try:
                timings = self._kept.popleft()
            except IndexError:  # another thread was faster
                return
            for series, milliseconds in zip(self._series, timings, strict=False):
                series.observe(milliseconds / 1000)


class StageHistogram(LoopHistogram):
    """The histogram of the durations of stages, by model and stage."""

    def __init__(self, name: str, text: str, buckets: Sequence[float], registry: CollectorRegistry) -> None:
        self._of_models: dict[str, StageDurations] = {}
        super().__init__(name, text, ["model", "stage"], buckets, registry)

    def of_predictions(self, model: str) -> StageDurations:
        """Where predictions of a model are counted, whatever its version."""
        found = self._of_models.get(model)
        if found is None:
            found = StageDurations([self.labels(model, stage) for stage in _STAGES])
            self._of_models[model] = found
        return found

    def collect(self) -> Iterator[Metric]:
        for durations in list(self._of_models.values()):
            durations.observe()
        yield from super().collect()
