"""Every Prometheus metric of the service, declared once. Labels take only names that are on disk or in the code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

#: 100 us to 10 s: small recurrent models answer in less than the smallest bucket of common defaults.
DURATION_BUCKETS_S = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
BATCH_SIZE_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128)
RATIO_BUCKETS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0)

#: The label of requests that named no model, or one that is not here: a caller cannot create label values.
NO_MODEL = "none"


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


class SessionCollector(Collector):
    """The counts of the sessions in this process, read when they are asked for."""

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


class PrefixCollector(Collector):
    """The counts of every prefix cache, read when they are asked for."""

    def __init__(self) -> None:
        self._caches: dict[str, list[Prefixes]] = {}

    def watch(self, model: str, cache: Prefixes) -> None:
        self._caches.setdefault(model, []).append(cache)

    def collect(self) -> Iterator[Metric]:
        """The versions of one model are added up."""
        counters = {
            "num_hits": CounterMetricFamily("unroll_prefix_hits", "Prompts with a known beginning.", labels=["model"]),
            "num_misses": CounterMetricFamily("unroll_prefix_misses", "Prompts without one.", labels=["model"]),
            "num_hit_tokens": CounterMetricFamily(
                "unroll_prefix_hit_tokens", "Tokens that need not be read again.", labels=["model"]
            ),
            "num_evictions": CounterMetricFamily(
                "unroll_prefix_evictions", "States that made room for others.", labels=["model"]
            ),
        }
        num_bytes = GaugeMetricFamily("unroll_prefix_bytes", "Memory that known prefixes take.", labels=["model"])
        for model, caches in self._caches.items():
            for count, family in counters.items():
                family.add_metric([model], sum(getattr(cache, count) for cache in caches))
            num_bytes.add_metric([model], sum(cache.num_bytes for cache in caches))
        yield from counters.values()
        yield num_bytes


class Metrics:
    """The metrics of one running service, on one collector registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)
        self._declare_requests(registry)
        self._declare_batches(registry)
        self._declare_bundles(registry)
        self._prefixes = PrefixCollector()
        registry.register(self._prefixes)

    def watch_queue(self, model: str, depth: Callable[[], int], oldest_age_s: Callable[[], float]) -> None:
        """Ask a queue for its depth and age at each scrape. The versions of one model are added up."""
        queues = self._queues.setdefault(model, [])
        queues.append(Queue(depth, oldest_age_s))
        self._queue_depth.labels(model).set_function(lambda: sum(queue.depth() for queue in queues))
        self._queue_age.labels(model).set_function(lambda: max(queue.oldest_age_s() for queue in queues))

    def watch_slots(self, model: str, streams: Callable[[], int], in_use: Callable[[], int], total: int) -> None:
        """Ask a step model for its streams and rows at each scrape. The versions of one model are added up."""
        slots = self._slots.setdefault(model, [])
        slots.append(Slots(streams, in_use, total))
        self._live_streams.labels(model).set_function(lambda: sum(slot.streams() for slot in slots))
        self._slots_in_use.labels(model).set_function(lambda: sum(slot.in_use() for slot in slots))
        self._num_slots.labels(model).set(sum(slot.total for slot in slots))

    def watch_prefixes(self, model: str, cache: Prefixes) -> None:
        """Ask a prefix cache for its counts at each scrape."""
        self._prefixes.watch(model, cache)

    def watch_sessions(self, sessions: Sessions) -> None:
        """Ask a store of sessions for its counts at each scrape."""
        self.registry.register(SessionCollector(sessions))

    def _declare_requests(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "unroll_requests_total",
            "Requests answered. outcome is ok, or the error_type of the answer.",
            ["model", "task", "outcome"],
            registry=registry,
        )
        self.request_duration = Histogram(
            "unroll_request_duration_seconds",
            "From the first byte of a request to the last byte of its answer.",
            ["model", "task"],
            buckets=DURATION_BUCKETS_S,
            registry=registry,
        )
        self.stage_duration = Histogram(
            "unroll_stage_duration_seconds",
            "Time of a request in one stage: preprocess, queue, inference, postprocess.",
            ["model", "stage"],
            buckets=DURATION_BUCKETS_S,
            registry=registry,
        )
        self.time_to_first_token = Histogram(
            "unroll_time_to_first_token_seconds",
            "From the arrival of a generation request to its first token.",
            ["model"],
            buckets=DURATION_BUCKETS_S,
            registry=registry,
        )

    def _declare_batches(self, registry: CollectorRegistry) -> None:
        self.batch_size = Histogram(
            "unroll_batch_size",
            "Inputs in one run of a graph (for generation: streams in one step).",
            ["model"],
            buckets=BATCH_SIZE_BUCKETS,
            registry=registry,
        )
        self.batch_padding_ratio = Histogram(
            "unroll_batch_padding_ratio",
            "Share of the computed tokens of a batch that was padding.",
            ["model"],
            buckets=RATIO_BUCKETS,
            registry=registry,
        )
        self.computed_tokens = Counter(
            "unroll_computed_tokens_total",
            "Tokens that batches computed, padding included.",
            ["model"],
            registry=registry,
        )
        self.padded_tokens = Counter(
            "unroll_padded_tokens_total",
            "Tokens that batches computed and that were padding.",
            ["model"],
            registry=registry,
        )
        self._queues: dict[str, list[Queue]] = {}
        self._queue_depth = Gauge("unroll_queue_depth", "Inputs waiting for a batch.", ["model"], registry=registry)
        self._queue_age = Gauge(
            "unroll_queue_oldest_age_seconds",
            "How long the oldest waiting input has waited.",
            ["model"],
            registry=registry,
        )
        self._declare_slots(registry)
        self.generated_tokens = Counter(
            "unroll_generated_tokens_total", "Tokens generated.", ["model"], registry=registry
        )

    def _declare_slots(self, registry: CollectorRegistry) -> None:
        self._slots: dict[str, list[Slots]] = {}
        self._live_streams = Gauge("unroll_live_streams", "Requests being stepped.", ["model"], registry=registry)
        self._slots_in_use = Gauge("unroll_slots_in_use", "Rows being stepped.", ["model"], registry=registry)
        self._num_slots = Gauge("unroll_slots", "Rows that can be stepped at once.", ["model"], registry=registry)
        self.slot_joins = Counter(
            "unroll_slot_joins_total", "Requests that joined a running batch.", ["model"], registry=registry
        )
        self.slot_leaves = Counter(
            "unroll_slot_leaves_total",
            "Requests that left one: finished, failed, cancelled, expired, overrun (read too slowly) or stopped.",
            ["model", "reason"],
            registry=registry,
        )

    def _declare_bundles(self, registry: CollectorRegistry) -> None:
        self.ready = Gauge("unroll_ready", "1 if the service is ready for requests, else 0.", registry=registry)
        self.bundle_info = Gauge(
            "unroll_bundle_info",
            "Always 1; the labels say which bundles are loaded.",
            ["model", "version", "task", "digest"],
            registry=registry,
        )
        self.parity_passed = Gauge(
            "unroll_parity_passed",
            "1 if the bundle gave its recorded answers when it was loaded, 0 if it did not or could not be loaded.",
            ["model", "version"],
            registry=registry,
        )
        self.execution_provider_info = Gauge(
            "unroll_execution_provider_info",
            "Always 1; the labels say which onnxruntime provider runs the bundle, and in which numbers.",
            ["model", "version", "provider", "precision"],
            registry=registry,
        )
        self.device_fallback = Gauge(
            "unroll_device_fallback",
            "1 if a GPU was there for the bundle and could not be used, else 0.",
            ["model", "version"],
            registry=registry,
        )
