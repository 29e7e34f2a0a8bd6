"""The histogram of the durations of the stages of predictions."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from prometheus_client.registry import CollectorRegistry

from service.observability.scrape.loop_metrics import LoopHistogram, LoopObservations
from service.observability.scrape.series_family import SeriesFamily
from service.observability.timings import Timings

#: Of a prediction, in the order of `Timings`.
_STAGES = ("preprocess", "queue", "inference", "postprocess")

#: Timings that are kept until they are observed.
_MOST_KEPT = 1024


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

    def collect(self) -> Iterator[SeriesFamily]:
        for durations in list(self._of_models.values()):
            durations.observe()
        yield from super().collect()
