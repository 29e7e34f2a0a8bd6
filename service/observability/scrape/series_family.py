"""A metric family as the values of its series, from which samples are made only for whoever asks for samples.

With hundreds of models there are tens of thousands of samples, nearly all buckets of histograms. A histogram that
nothing has observed has no series: rate() needs counters at 0, but the buckets appear together with their count.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from prometheus_client.core import Exemplar, Metric
from prometheus_client.samples import Sample


class SeriesValues(NamedTuple):
    """The values of one series.

    Attributes:
        counts: observations in each bucket alone; empty for a counter.
        total: the sum of what was observed, or the value of a counter.
        exemplars: the newest of each bucket that has one, by its number.
    """

    counts: list[int]
    total: float
    exemplars: dict[int, Exemplar]


#: Values of the labels, and the values.
Series = tuple[tuple[str, ...], SeriesValues]


class SeriesFamily(Metric):
    """A counter or a histogram; `bounds` are the upper bounds of its buckets as they are written, the last is +Inf."""

    def __init__(
        self, name: str, text: str, label_names: Sequence[str], bounds: Sequence[str], series: Sequence[Series]
    ) -> None:
        super().__init__(name, text, "histogram" if bounds else "counter")
        self.label_names, self.bounds = tuple(label_names), tuple(bounds)
        self.series = series if not bounds else [one for one in series if any(one[1].counts)]

    @property
    def samples(self) -> list[Sample]:
        """The samples as the client library describes them."""
        return [sample for values, measured in self.series for sample in self._samples_of(values, measured)]

    @samples.setter
    def samples(self, _: list[Sample]) -> None:
        """The base class begins with none."""

    def _samples_of(self, values: tuple[str, ...], measured: SeriesValues) -> Iterator[Sample]:
        labels = dict(zip(self.label_names, values, strict=True))
        if not self.bounds:
            yield Sample(f"{self.name}_total", labels, measured.total)
            return
        sums = list(accumulate(measured.counts))
        for number, (bound, count) in enumerate(zip(self.bounds, sums, strict=True)):
            exemplar = measured.exemplars.get(number)
            yield Sample(f"{self.name}_bucket", labels | {"le": bound}, float(count), None, exemplar)
        yield Sample(f"{self.name}_count", labels, float(sums[-1]))
        yield Sample(f"{self.name}_sum", labels, measured.total)
