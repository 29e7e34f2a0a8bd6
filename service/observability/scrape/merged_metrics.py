"""Metrics of several processes as one: counters and histograms are added, gauges as their meaning asks.

A snapshot is what one process has measured, as plain values that become JSON: of histograms that is the number in each
bucket, not a sample with labels for each, as there may be many thousands, written every few seconds. The values of
processes that have ended are kept as one more snapshot, without gauges, so that no counter ever goes backwards.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Literal, NamedTuple

from prometheus_client.core import Exemplar, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from service.observability.scrape.series_family import SeriesFamily, SeriesValues

Rule = Literal["sum", "max", "min", "own"]

#: How the gauges of workers become one: all that are not named here are added. `own` is that of the process that is
#: asked: all of them would say the same, or mean the same.
GAUGE_RULES: Mapping[str, Rule] = {
    "unroll_queue_oldest_age_seconds": "max",
    "unroll_lane_run_age_seconds": "max",
    "unroll_start_seconds": "max",
    "unroll_last_reload_timestamp_seconds": "max",
    "unroll_bundle_info": "max",
    "unroll_execution_provider_info": "max",
    "unroll_device_fallback": "max",
    "unroll_traffic_share": "max",
    "unroll_prefix_bytes": "max",
    "unroll_session_bytes": "max",
    "unroll_sessions": "max",
    "unroll_build_info": "max",
    "python_info": "max",
    "process_max_fds": "min",
    "process_start_time_seconds": "min",
    "unroll_parity_passed": "min",
    "unroll_last_reload_successful": "min",
    "unroll_last_key_reload_successful": "min",
    "unroll_ready": "own",
    "unroll_api_keys": "own",
    "unroll_workers": "own",
    "unroll_max_workers": "own",
    "unroll_memory_limit_bytes": "own",
    "unroll_gpu_utilization_ratio": "own",
    "unroll_gpu_memory_used_bytes": "own",
    "unroll_gpu_memory_bytes": "own",
}
#: Counters of the whole container, which every process reads alike.
_SHARED_COUNTERS: Mapping[str, Rule] = {"unroll_cpu_throttled_seconds": "own"}
#: Families that stay when their process has ended.
_LASTING = ("counter", "histogram", "summary")

#: Name, labels and value of a sample, and its exemplar: labels, value and time.
Series = list[Any]


#: Values of the labels, numbers in the buckets, sum, and the exemplar of each bucket that has one.
PlainValues = Sequence[Any]


#: Name, type and text of a metric, and its series.
Family = tuple[str, str, str, list[Series]]
#: Name, text, names of labels, bounds and series of a `SeriesFamily`.
Loop = tuple[str, str, Sequence[str], Sequence[str], list[PlainValues]]


class Snapshot(NamedTuple):
    """What one process has measured: in `loops` the counters and histograms that requests change."""

    families: list[Family]
    loops: list[Loop]


def snapshot_of(registry: Collector) -> Snapshot:
    """The values at this moment. Any thread may call it."""
    families: list[Family] = []
    loops: list[Loop] = []
    for metric in registry.collect():
        if isinstance(metric, SeriesFamily):
            loops.append((metric.name, metric.documentation, metric.label_names, metric.bounds, _plain_values(metric)))
            continue
        series: list[Series] = [
            [sample.name, sample.labels, sample.value, _plain(sample.exemplar)] for sample in metric.samples
        ]
        families.append((metric.name, metric.type, metric.documentation, series))
    return Snapshot(families, loops)


def with_value(snapshot: Snapshot, name: str, value: float | None) -> Snapshot:
    """With another value of a metric without labels, if there is one; None changes nothing."""
    for family in snapshot.families if value is not None else ():
        if family[0] == name:
            family[3][:] = [[name, {}, value, None]]
    return snapshot


def lasting(snapshot: Snapshot) -> Snapshot:
    """What remains of a process that has ended."""
    return Snapshot(
        [family for family in snapshot.families if family[1] in _LASTING and family[0] not in _SHARED_COUNTERS],
        snapshot.loops,
    )


class MergedMetrics(Collector):
    """The metrics of several processes, to be written by the client library."""

    def __init__(self, snapshots: Sequence[Snapshot]) -> None:
        """The first snapshot is of the process that is asked."""
        self._snapshots = snapshots

    def collect(self) -> Iterator[Metric]:
        merged: dict[str, _MergedFamily] = {}
        loops: dict[str, _MergedLoop] = {}
        for number, snapshot in enumerate(self._snapshots):
            for name, kind, text, series in snapshot.families:
                family = merged.get(name)
                if family is None:
                    family = merged[name] = _MergedFamily(name, kind, text)
                family.add(series, is_own=number == 0)
            for name, text, label_names, bounds, values in snapshot.loops:
                loop = loops.get(name)
                if loop is None:
                    loop = loops[name] = _MergedLoop(name, text, label_names, bounds)
                loop.add(values)
        return chain((family.metric() for family in merged.values()), (loop.metric() for loop in loops.values()))

    def snapshot(self) -> Snapshot:
        """The sum as a snapshot."""
        return snapshot_of(self)


class _MergedFamily:
    """The series of one metric."""

    def __init__(self, name: str, kind: str, text: str) -> None:
        self._head = name, text, kind
        rules = _SHARED_COUNTERS if kind in _LASTING else GAUGE_RULES
        self._rule: Rule = rules.get(name, "sum")
        self._series: dict[tuple[str, frozenset[tuple[str, str]]], Series] = {}

    def add(self, series: Iterable[Series], *, is_own: bool) -> None:
        if self._rule == "own" and not is_own:
            return
        for name, labels, value, exemplar in series:
            key = name, frozenset(labels.items())
            known = self._series.get(key)
            if known is None:
                self._series[key] = [name, labels, value, exemplar]
            else:
                known[2] = _joined(self._rule, known[2], value)
                known[3] = _newest(known[3], exemplar)

    def metric(self) -> Metric:
        name, text, kind = self._head
        metric = Metric(name, text, kind)
        metric.samples = [
            Sample(sample, labels, value, None, _exemplar(exemplar))
            for sample, labels, value, exemplar in self._in_groups()
        ]
        return metric

    def _in_groups(self) -> Iterable[Series]:
        """Series of one histogram stand together, with rising buckets."""
        groups: dict[frozenset[tuple[str, str]], list[Series]] = {}
        for one in self._series.values():
            key = frozenset(item for item in one[1].items() if item[0] != "le")
            groups.setdefault(key, []).append(one)
        return (one for group in groups.values() for one in group)


class _MergedLoop:
    """The series of one counter or histogram that requests change."""

    def __init__(self, name: str, text: str, label_names: Sequence[str], bounds: Sequence[str]) -> None:
        self._head = name, text, label_names, bounds
        self._series: dict[tuple[str, ...], SeriesValues] = {}

    def add(self, series: Iterable[PlainValues]) -> None:
        for labels, counts, total, exemplars in series:
            values = SeriesValues(counts, total, {int(number): Exemplar(*one) for number, one in exemplars.items()})
            known = self._series.get(tuple(labels))
            self._series[tuple(labels)] = values if known is None else _sum(known, values)

    def metric(self) -> Metric:
        return SeriesFamily(*self._head, list(self._series.items()))


def _sum(one: SeriesValues, other: SeriesValues) -> SeriesValues:
    counts = list(map(operator.add, one.counts, other.counts))
    exemplars = dict(other.exemplars)
    for number, exemplar in one.exemplars.items():
        newer = exemplars.get(number)
        if newer is None or float(newer.timestamp or 0.0) <= float(exemplar.timestamp or 0.0):
            exemplars[number] = exemplar
    return SeriesValues(counts, one.total + other.total, exemplars)


def _plain_values(family: SeriesFamily) -> list[PlainValues]:
    return [
        (labels, values.counts, values.total, {number: _plain(one) for number, one in values.exemplars.items()})
        for labels, values in family.series
    ]


def _joined(rule: Rule, one: float, other: float) -> float:
    if rule == "sum":
        return one + other
    return max(one, other) if rule == "max" else min(one, other)


def _newest(one: list[Any] | None, other: list[Any] | None) -> list[Any] | None:
    if one is None or other is None:
        return one or other
    return max(one, other, key=lambda exemplar: exemplar[2] or 0.0)


def _plain(exemplar: Exemplar | None) -> list[Any] | None:
    return None if exemplar is None else [exemplar.labels, exemplar.value, exemplar.timestamp]


def _exemplar(plain: list[Any] | None) -> Exemplar | None:
    return None if plain is None else Exemplar(*plain)
