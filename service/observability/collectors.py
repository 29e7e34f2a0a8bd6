"""Collectors: metrics that are read from their owners at each scrape, instead of being updated all the time.

The values of several versions of one model are summed, because dashboards show models.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service.observability.json_logs import num_dropped_lines

ThingT = TypeVar("ThingT")

#: Ends a `watch`.
Forget = Callable[[], None]


class Queue(NamedTuple):
    """Readings of a queue, from any thread."""

    depth: Callable[[], int]
    oldest_age_s: Callable[[], float]


class Slots(NamedTuple):
    """Readings of the running batches of a step model, from any thread; `total` never changes."""

    streams: Callable[[], int]
    in_use: Callable[[], int]
    total: int


class Prefixes(Protocol):
    """The counts of a prefix cache."""

    num_hits: int
    num_misses: int
    num_hit_tokens: int
    num_evictions: int

    @property
    def num_bytes(self) -> int: ...


@runtime_checkable
class Sessions(Protocol):
    """The counts of a session store in the memory of this machine."""

    @property
    def num_bytes(self) -> int: ...
    @property
    def num_evicted(self) -> int: ...
    @property
    def num_expired(self) -> int: ...

    def __len__(self) -> int: ...


class Sealer(Protocol):
    """The counts of a state sealer."""

    num_sealed: int
    num_opened: int
    num_refused: int


class BusyLanes(Protocol):
    """The utilisation of the lanes."""

    num_lanes: int

    @property
    def busy_s(self) -> float: ...
    @property
    def run_age_s(self) -> float: ...


class _OfModels(Collector, Generic[ThingT]):
    """Base of collectors that read things of each model, such as queues, which come and go."""

    def __init__(self) -> None:
        self._things: dict[str, list[ThingT]] = {}

    def watch(self, model: str, thing: ThingT) -> Forget:
        """Read this too, until the returned function is called."""
        self._things.setdefault(model, []).append(thing)
        return lambda: self._forget(model, thing)

    def _forget(self, model: str, thing: ThingT) -> None:
        things = self._things[model]
        things[:] = [other for other in things if other is not thing]

    def _by_model(self) -> Iterable[tuple[str, list[ThingT]]]:
        return [(model, list(things)) for model, things in self._things.items()]


class QueueCollector(_OfModels[Queue]):
    """Depth of the queues, and age of the oldest input."""

    def collect(self) -> Iterator[Metric]:
        depth = _gauge("unroll_queue_depth", "Number of inputs waiting for a batch.", "model")
        age = _gauge("unroll_queue_oldest_age_seconds", "Age of the oldest waiting input in seconds.", "model")
        for model, queues in self._by_model():
            depth.add_metric([model], sum(queue.depth() for queue in queues))
            age.add_metric([model], max((queue.oldest_age_s() for queue in queues), default=0.0))
        yield depth
        yield age


class SlotCollector(_OfModels[Slots]):
    """Occupancy of the running batches of step models."""

    def collect(self) -> Iterator[Metric]:
        streams = _gauge("unroll_live_streams", "Number of requests in the running batches.", "model")
        in_use = _gauge("unroll_slots_in_use", "Number of rows in the running batches.", "model")
        total = _gauge("unroll_slots", "Maximum number of rows in the running batches.", "model")
        for model, slots in self._by_model():
            streams.add_metric([model], sum(slot.streams() for slot in slots))
            in_use.add_metric([model], sum(slot.in_use() for slot in slots))
            total.add_metric([model], sum(slot.total for slot in slots))
        yield from (streams, in_use, total)


class PrefixCollector(_OfModels[Prefixes]):
    """The counts of the prefix caches, including those of caches that are gone."""

    _COUNTERS: Mapping[str, tuple[str, str]] = {
        "num_hits": ("unroll_prefix_hits", "Number of prompts with a cached prefix."),
        "num_misses": ("unroll_prefix_misses", "Number of prompts without a cached prefix."),
        "num_hit_tokens": ("unroll_prefix_hit_tokens", "Number of prompt tokens taken from the prefix cache."),
        "num_evictions": ("unroll_prefix_evictions", "Number of states evicted from the prefix cache."),
    }

    def __init__(self) -> None:
        super().__init__()
        self._past: dict[str, Counter[str]] = {}

    def collect(self) -> Iterator[Metric]:
        counters = {count: _counter(name, text, "model") for count, (name, text) in self._COUNTERS.items()}
        num_bytes = _gauge("unroll_prefix_bytes", "Memory used by the prefix cache in bytes.", "model")
        for model, caches in self._by_model():
            past = self._past.get(model, Counter())
            for count, family in counters.items():
                family.add_metric([model], past[count] + sum(getattr(cache, count) for cache in caches))
            num_bytes.add_metric([model], sum(cache.num_bytes for cache in caches))
        yield from counters.values()
        yield num_bytes

    def _forget(self, model: str, thing: Prefixes) -> None:
        super()._forget(model, thing)
        past = self._past.setdefault(model, Counter())
        past.update({count: getattr(thing, count) for count in self._COUNTERS})


class LabelCollector(Collector):
    """Predicted labels, counted in a dict: a metric object for each label costs more than the prediction of one."""

    def __init__(self) -> None:
        self._counts: dict[str, Counter[str]] = {}

    def of(self, model: str) -> Counter[str]:
        """The counts of a model; its engine adds to them in the event loop."""
        return self._counts.setdefault(model, Counter())

    def collect(self) -> Iterator[Metric]:
        text = "Number of predicted labels: one per text or span, or per word of a tagger without spans."
        family = _counter("unroll_predicted_labels", text, "model", "label")
        for model, counts in list(self._counts.items()):
            for label, count in list(counts.items()):
                family.add_metric([model, label], count)
        yield family


class SessionStoreCollector(Collector):
    """The failures of a session store outside of this process, by reason."""

    def __init__(self, failures: Mapping[str, int]) -> None:
        self._failures = failures

    def collect(self) -> Iterator[Metric]:
        text = "Number of commands to the session store that failed: timeout, unreachable, full or refused."
        family = CounterMetricFamily("unroll_session_store_failures", text, labels=["reason"])
        for reason in ("timeout", "unreachable", "full", "refused"):
            family.add_metric([reason], self._failures.get(reason, 0))
        yield family


class LogCollector(Collector):
    """The count of lost log lines of this process."""

    def collect(self) -> Iterator[Metric]:
        text = "Number of log lines that were dropped because they could not be written."
        yield CounterMetricFamily("unroll_log_lines_dropped", text, value=num_dropped_lines())


class SessionCollector(Collector):
    """The counts of the session store in memory."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def collect(self) -> Iterator[Metric]:
        sessions = self._sessions
        yield GaugeMetricFamily("unroll_sessions", "Number of sessions kept.", value=len(sessions))
        yield GaugeMetricFamily("unroll_session_bytes", "Memory used by sessions in bytes.", value=sessions.num_bytes)
        evicted = "Number of sessions evicted to make room."
        yield CounterMetricFamily("unroll_sessions_evicted", evicted, value=sessions.num_evicted)
        expired = "Number of sessions expired."
        yield CounterMetricFamily("unroll_sessions_expired", expired, value=sessions.num_expired)


class StateCollector(Collector):
    """Number of state tokens sealed, opened and refused."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    def collect(self) -> Iterator[Metric]:
        family = _counter("unroll_state_tokens", "Number of state tokens sealed, opened or refused.", "event")
        family.add_metric(["sealed"], self._sealer.num_sealed)
        family.add_metric(["opened"], self._sealer.num_opened)
        family.add_metric(["refused"], self._sealer.num_refused)
        yield family


class LaneCollector(Collector):
    """Busy time of the lanes: its rate divided by the number of lanes is the utilisation."""

    def __init__(self, lanes: BusyLanes) -> None:
        self._lanes = lanes

    def collect(self) -> Iterator[Metric]:
        lanes = self._lanes
        yield GaugeMetricFamily("unroll_lanes", "Number of lanes, which run graphs in parallel.", value=lanes.num_lanes)
        busy = "Time that lanes spent running graphs, summed over lanes, in seconds."
        yield CounterMetricFamily("unroll_lane_busy_seconds", busy, value=lanes.busy_s)
        age = "Age of the oldest unfinished run of a graph in seconds."
        yield GaugeMetricFamily("unroll_lane_run_age_seconds", age, value=lanes.run_age_s)


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=labels)


def _counter(name: str, text: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(name, text, labels=labels)
