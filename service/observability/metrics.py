"""Every Prometheus metric of the service, declared once. Labels take only names that are on disk or in the code."""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from service.observability.collectors import (
    BusyLanes,
    Forget,
    LabelCollector,
    LaneCollector,
    PrefixCollector,
    Prefixes,
    Queue,
    QueueCollector,
    Sealer,
    SessionCollector,
    Sessions,
    SlotCollector,
    Slots,
    StateCollector,
)
from service.observability.process import ContainerCollector, find_gpus

#: 100 us to 10 s: small recurrent models answer in less than the smallest bucket of common defaults.
DURATION_BUCKETS_S = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
BATCH_SIZE_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128)
RATIO_BUCKETS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0)
CONFIDENCE_BUCKETS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)

#: Outcomes in which a user was not served, by no fault of his own: what the objective of availability counts.
FAILED_OUTCOMES = ("internal", "inference_failed", "generation", "not_ready", "overloaded", "deadline_exceeded")

#: The label of requests that named no model, or one that is not here: a caller cannot create label values.
NO_MODEL = "none"


class Metrics:
    """The metrics of one running service, on one collector registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._queues, self._slots = QueueCollector(), SlotCollector()
        self._prefixes, self._labels = PrefixCollector(), LabelCollector()
        for kind in (ProcessCollector, PlatformCollector, GCCollector):
            kind(registry=registry)
        for collector in (self._queues, self._slots, self._prefixes, self._labels, ContainerCollector(), find_gpus()):
            self._ask(collector)
        self._declare_requests(registry)
        self._declare_batches(registry)
        self._declare_streams(registry)
        self._declare_answers(registry)
        self._declare_bundles(registry)
        self._declare_process(registry)

    def watch_queue(self, model: str, depth: Callable[[], int], oldest_age_s: Callable[[], float]) -> Forget:
        """Ask a queue for its depth and age at each scrape. The versions of one model are added up."""
        return self._queues.watch(model, Queue(depth, oldest_age_s))

    def watch_slots(self, model: str, streams: Callable[[], int], in_use: Callable[[], int], total: int) -> Forget:
        """Ask a step model for its streams and rows at each scrape. The versions of one model are added up."""
        return self._slots.watch(model, Slots(streams, in_use, total))

    def watch_prefixes(self, model: str, cache: Prefixes) -> Forget:
        """Ask a prefix cache for its counts at each scrape."""
        return self._prefixes.watch(model, cache)

    def watch_sessions(self, sessions: Sessions) -> None:
        """Ask a store of sessions for its counts at each scrape."""
        self._ask(SessionCollector(sessions))

    def watch_states(self, sealer: Sealer) -> None:
        """Ask what seals states for its counts at each scrape."""
        self._ask(StateCollector(sealer))

    def watch_lanes(self, lanes: BusyLanes) -> None:
        """Ask the lanes how busy they are at each scrape."""
        self._ask(LaneCollector(lanes))

    def label_counts(self, model: str) -> Counts[str]:
        """What to count the labels of a model in: `label_counts(model)[label] += 1`."""
        return self._labels.of(model)

    def expect_requests(self, model: str, task: str) -> None:
        """Show the outcomes that matter as zero from the start: of a series that begins with a failure, Prometheus
        counts only what comes after it."""
        for outcome in ("ok", *FAILED_OUTCOMES):
            self.requests.labels(model, task, outcome)

    def forget_bundle(self, model: str, version: str) -> None:
        """A bundle is gone: its gauges go too."""
        for gauge in (self.bundle_info, self.parity_passed, self.execution_provider_info, self.device_fallback):
            gauge.remove_by_labels({"model": model, "version": version})

    def _ask(self, collector: Collector | None) -> None:
        if collector is not None:
            self.registry.register(collector)

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
        self.rejections = Counter(
            "unroll_rejections_total",
            "Requests refused before a model ran for them, by reason.",
            ["reason"],
            registry=registry,
        )
        self.deadline_misses = Counter(
            "unroll_deadline_misses_total",
            "Requests that were given up because their time was over, in the queue or while they were running.",
            ["model", "phase"],
            registry=registry,
        )
        self.open_requests = Gauge("unroll_open_requests", "Requests being answered.", registry=registry)
        self.max_open_requests = Gauge(
            "unroll_max_open_requests", "Requests that may be answered at once.", registry=registry
        )
        self.stage_duration = Histogram(
            "unroll_stage_duration_seconds",
            "Time of a request in one stage: preprocess, queue, inference, postprocess.",
            ["model", "stage"],
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

    def _declare_streams(self, registry: CollectorRegistry) -> None:
        self.time_to_first_token = Histogram(
            "unroll_time_to_first_token_seconds",
            "From the arrival of a streamed generation to its first token.",
            ["model"],
            buckets=DURATION_BUCKETS_S,
            registry=registry,
        )
        self.token_gap = Histogram(
            "unroll_token_gap_seconds",
            "Mean time between the tokens of a text; one observation for each text.",
            ["model"],
            buckets=DURATION_BUCKETS_S,
            registry=registry,
        )
        self.generated_tokens = Counter(
            "unroll_generated_tokens_total", "Tokens generated.", ["model"], registry=registry
        )
        self.slot_joins = Counter(
            "unroll_slot_joins_total", "Requests that joined a running batch.", ["model"], registry=registry
        )
        self.slot_leaves = Counter(
            "unroll_slot_leaves_total",
            "Requests that left one: finished, failed, cancelled, expired, overrun (read too slowly) or stopped.",
            ["model", "reason"],
            registry=registry,
        )

    def _declare_answers(self, registry: CollectorRegistry) -> None:
        self.prediction_confidence = Histogram(
            "unroll_prediction_confidence",
            "Probability of an answer: of the label, of a sentence's tags on average, of a translation's tokens.",
            ["model"],
            buckets=CONFIDENCE_BUCKETS,
            registry=registry,
        )
        self.read_tokens = Counter(
            "unroll_read_tokens_total", "Words or pieces of input that were read.", ["model"], registry=registry
        )
        self.unknown_tokens = Counter(
            "unroll_unknown_tokens_total",
            "Words or pieces of input that the vocabulary does not hold.",
            ["model"],
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
        self.reloads = Counter(
            "unroll_reloads_total",
            "Looks at the models folder while serving: ok (something changed), unchanged, or failed.",
            ["outcome"],
            registry=registry,
        )
        self.last_reload_successful = Gauge(
            "unroll_last_reload_successful", "1 unless the last look at the folder failed.", registry=registry
        )
        self.last_reload_time = Gauge(
            "unroll_last_reload_timestamp_seconds",
            "When bundles were last put in place, in seconds since 1970.",
            registry=registry,
        )

    def _declare_process(self, registry: CollectorRegistry) -> None:
        self.event_loop_lag = Histogram(
            "unroll_event_loop_lag_seconds",
            "How much later than planned the event loop came back to a task that sleeps; ten times a second.",
            buckets=DURATION_BUCKETS_S,
            registry=registry,
        )
        self.start_duration = Gauge(
            "unroll_start_seconds", "From the start of the process until it was ready.", registry=registry
        )
        self.build_info = Gauge(
            "unroll_build_info",
            "Always 1; the labels say what is running.",
            ["version", "onnxruntime", "python"],
            registry=registry,
        )
