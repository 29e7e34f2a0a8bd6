"""Counters and histograms that every request changes.

Those of the client library take a lock for each value and check each call, which together costs a request more than its
answer does.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from threading import Lock
from typing import Generic, TypeVar

from prometheus_client.core import Exemplar, Metric
from prometheus_client.registry import Collector, CollectorRegistry
from prometheus_client.utils import floatToGoString

from service.observability.scrape.series_family import SeriesFamily, SeriesValues

SeriesT = TypeVar("SeriesT", "LoopCount", "LoopObservations")

#: Observations that a series keeps until they are counted.
_MOST_KEPT = 1024


class LoopCount:
    """One series of a counter. Only the event loop adds to it; any thread may read it."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1) -> None:
        """Add an amount, which is not negative."""
        self.value += amount

    def read(self) -> SeriesValues:
        """The value."""
        return SeriesValues([], self.value, {})


class LoopObservations:
    """One series of a histogram. Any thread may add to it and read it.

    What is observed is only kept, and counted when somebody reads or much has come: that costs a request least.

    Attributes:
        bounds: the upper bounds of the buckets but for the last, which has none.
        exemplars: the newest of each bucket that has one, by its number.
    """

    __slots__ = ("_counts", "_kept", "_lock", "_total", "bounds", "exemplars")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.exemplars: dict[int, Exemplar] = {}
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0
        self._kept: deque[float] = deque()
        self._lock = Lock()

    @property
    def counts(self) -> list[int]:
        """Observations in each bucket alone."""
        self._count()
        return self._counts

    @property
    def total(self) -> float:
        """The sum of what was observed."""
        self._count()
        return self._total

    def observe(self, amount: float, exemplar: Mapping[str, str] | None = None) -> None:
        """Keep an amount. `exemplar` has the trace id, which links the bucket to the trace."""
        kept = self._kept
        kept.append(amount)
        if exemplar is not None:
            self.exemplars[bisect_left(self.bounds, amount)] = Exemplar(dict(exemplar), amount, time.time())
        if len(kept) >= _MOST_KEPT:
            self._count()

    def read(self) -> SeriesValues:
        """The values at this moment."""
        self._count()
        with self._lock:
            return SeriesValues(self._counts.copy(), self._total, self.exemplars.copy())

    def _count(self) -> None:
        """Count what was kept so far."""
        bounds, counts, kept = self.bounds, self._counts, self._kept
        with self._lock:
            for _ in range(len(kept)):
                amount = kept.popleft()
                counts[bisect_left(bounds, amount)] += 1
                self._total += amount


class _LoopMetric(Collector, Generic[SeriesT]):
    """A metric whose series are changed without locks."""

    #: Upper bounds of the buckets as they are written; none for a counter.
    _bounds: Sequence[str] = ()

    def __init__(
        self, name: str, text: str, label_names: Sequence[str], make: Callable[[], SeriesT], registry: CollectorRegistry
    ) -> None:
        self._name, self._text, self._label_names = name, text, tuple(label_names)
        self._make: Callable[[], SeriesT] = make
        self._series: dict[tuple[str, ...], SeriesT] = {}
        registry.register(self)

    def labels(self, *values: str) -> SeriesT:
        """The series with these values of the labels, in their order."""
        if len(values) != len(self._label_names):
            raise ValueError(f"{self._name} has the labels {', '.join(self._label_names)}")
        series = self._series.get(values)
        if series is None:
            series = self._series[values] = self._make()
        return series

    def describe(self) -> Iterator[Metric]:
        yield SeriesFamily(self._name, self._text, self._label_names, self._bounds, [])

    def collect(self) -> Iterator[SeriesFamily]:
        series = [(values, one.read()) for values, one in list(self._series.items())]
        yield SeriesFamily(self._name, self._text, self._label_names, self._bounds, series)


class LoopCounter(_LoopMetric[LoopCount]):
    """A counter with labels, which counts in the event loop alone."""

    def __init__(self, name: str, text: str, label_names: Sequence[str], registry: CollectorRegistry) -> None:
        super().__init__(name.removesuffix("_total"), text, label_names, LoopCount, registry)


class LoopHistogram(_LoopMetric[LoopObservations]):
    """A histogram with labels."""

    def __init__(
        self,
        name: str,
        text: str,
        label_names: Sequence[str],
        buckets: Sequence[float],
        registry: CollectorRegistry,
    ) -> None:
        """`buckets` are upper bounds, rising and at least 0; one without a bound is added."""
        self._bounds = [*map(floatToGoString, buckets), "+Inf"]
        super().__init__(name, text, label_names, lambda: LoopObservations(buckets), registry)
