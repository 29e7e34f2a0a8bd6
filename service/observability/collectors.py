"""Metrics that are read from their owners at the moment of a scrape, instead of being kept up to date all the time.

What several versions of one model count is added up, because dashboards speak of models.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Generic, NamedTuple, Protocol, TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

ThingT = TypeVar("ThingT")

#: Undoes a `watch`: what was watched is gone.
Forget = Callable[[], None]


class Queue(NamedTuple):
    """What can be asked of a queue at any time, from any thread."""

    depth: Callable[[], int]
    oldest_age_s: Callable[[], float]


class Slots(NamedTuple):
    """What can be asked of a step model's batches at any time, from any thread; `total` never changes."""

    streams: Callable[[], int]
    in_use: Callable[[], int]
    total: int


class Prefixes(Protocol):
    """What a prefix cache counts."""

    num_hits: int
    num_misses: int
    num_hit_tokens: int
    num_evictions: int
    num_bytes: int


class Sessions(Protocol):
    """What a store of sessions in this process counts."""

    num_bytes: int
    num_evicted: int
    num_expired: int

    def __len__(self) -> int: ...


class Sealer(Protocol):
    """What seals states counts."""

    num_sealed: int
    num_opened: int
    num_refused: int


class BusyLanes(Protocol):
    """What lanes tell of themselves."""

    num_lanes: int

    @property
    def busy_s(self) -> float: ...
    @property
    def run_age_s(self) -> float: ...


class _OfModels(Collector, Generic[ThingT]):
    """Things of each model that come and go."""

    def __init__(self) -> None:
        self._things: dict[str, list[ThingT]] = {}

    def watch(self, model: str, thing: ThingT) -> Forget:
        """Ask this too, until the function that is returned is called."""
        self._things.setdefault(model, []).append(thing)
        return lambda: self._forget(model, thing)

    def _forget(self, model: str, thing: ThingT) -> None:
        things = self._things[model]
        things[:] = [other for other in things if other is not thing]

    def _by_model(self) -> Iterable[tuple[str, list[ThingT]]]:
        return [(model, list(things)) for model, things in self._things.items()]


class QueueCollector(_OfModels[Queue]):
    """How many wait, and how long the oldest of them has."""

    def collect(self) -> Iterator[Metric]:
        depth = _gauge("unroll_queue_depth", "Inputs waiting for a batch.", "model")
        age = _gauge("unroll_queue_oldest_age_seconds", "How long the oldest waiting input has waited.", "model")
        for model, queues in self._by_model():
            depth.add_metric([model], sum(queue.depth() for queue in queues))
            age.add_metric([model], max((queue.oldest_age_s() for queue in queues), default=0.0))
        yield depth
        yield age


class SlotCollector(_OfModels[Slots]):
    """How full the batches of step models are."""

    def collect(self) -> Iterator[Metric]:
        streams = _gauge("unroll_live_streams", "Requests being stepped.", "model")
        in_use = _gauge("unroll_slots_in_use", "Rows being stepped.", "model")
        total = _gauge("unroll_slots", "Rows that can be stepped at once.", "model")
        for model, slots in self._by_model():
            streams.add_metric([model], sum(slot.streams() for slot in slots))
            in_use.add_metric([model], sum(slot.in_use() for slot in slots))
            total.add_metric([model], sum(slot.total for slot in slots))
        yield from (streams, in_use, total)


class PrefixCollector(_OfModels[Prefixes]):
    """The counts of the prefix caches. What a cache that is gone has counted stays counted."""

    _COUNTERS: Mapping[str, tuple[str, str]] = {
        "num_hits": ("unroll_prefix_hits", "Prompts with a known beginning."),
        "num_misses": ("unroll_prefix_misses", "Prompts without one."),
        "num_hit_tokens": ("unroll_prefix_hit_tokens", "Tokens that need not be read again."),
        "num_evictions": ("unroll_prefix_evictions", "States that made room for others."),
    }

    def __init__(self) -> None:
        super().__init__()
        self._past: dict[str, Counter[str]] = {}

    def collect(self) -> Iterator[Metric]:
        counters = {count: _counter(name, text, "model") for count, (name, text) in self._COUNTERS.items()}
        num_bytes = _gauge("unroll_prefix_bytes", "Memory that known prefixes take.", "model")
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
    """Which labels models give. A dict is counted in: a metric object for each label would cost more than the label."""

    def __init__(self) -> None:
        self._counts: dict[str, Counter[str]] = {}

    def of(self, model: str) -> Counter[str]:
        """What the model's engine counts in, in the event loop."""
        return self._counts.setdefault(model, Counter())

    def collect(self) -> Iterator[Metric]:
        text = "Labels given: one for a text, a span, or a word of a tagger without spans."
        family = _counter("unroll_predicted_labels", text, "model", "label")
        for model, counts in list(self._counts.items()):
            for label, count in list(counts.items()):
                family.add_metric([model, label], count)
        yield family


class SessionCollector(Collector):
    """The counts of the sessions in this process."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def collect(self) -> Iterator[Metric]:
        sessions = self._sessions
        yield GaugeMetricFamily("unroll_sessions", "Sessions that are kept.", value=len(sessions))
        yield GaugeMetricFamily("unroll_session_bytes", "Memory that sessions take.", value=sessions.num_bytes)
        evicted = "Sessions that made room for others."
        yield CounterMetricFamily("unroll_sessions_evicted", evicted, value=sessions.num_evicted)
        expired = "Sessions that nobody used for too long."
        yield CounterMetricFamily("unroll_sessions_expired", expired, value=sessions.num_expired)


class StateCollector(Collector):
    """How many states were sealed for the way or for a session, taken back, and refused."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    def collect(self) -> Iterator[Metric]:
        family = _counter("unroll_state_tokens", "States: sealed for callers and sessions, opened, refused.", "event")
        family.add_metric(["sealed"], self._sealer.num_sealed)
        family.add_metric(["opened"], self._sealer.num_opened)
        family.add_metric(["refused"], self._sealer.num_refused)
        yield family


class LaneCollector(Collector):
    """How busy the lanes are: the seconds of all lanes together, so their rate over their number is the utilisation."""

    def __init__(self, lanes: BusyLanes) -> None:
        self._lanes = lanes

    def collect(self) -> Iterator[Metric]:
        lanes = self._lanes
        yield GaugeMetricFamily("unroll_lanes", "Runs that can go side by side.", value=lanes.num_lanes)
        busy = "Time that lanes spent running graphs, all lanes added up."
        yield CounterMetricFamily("unroll_lane_busy_seconds", busy, value=lanes.busy_s)
        age = "How long the oldest run that has not ended takes already."
        yield GaugeMetricFamily("unroll_lane_run_age_seconds", age, value=lanes.run_age_s)


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=labels)


def _counter(name: str, text: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(name, text, labels=labels)
