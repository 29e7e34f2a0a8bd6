"""Every Prometheus metric of the service. Label values come only from bundles and from the code, never from clients."""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from service.observability.collectors import (
    Forget,
    LabelCollector,
    LogCollector,
    PrefixCollector,
    Prefixes,
    Queue,
    QueueCollector,
    SlotCollector,
    Slots,
)
from service.observability.process import ContainerCollector, find_gpus
from service.observability.scrape.loop_metrics import LoopCounter, LoopHistogram
from service.observability.scrape.speech_series import SpeechMetrics
from service.observability.scrape.stage_histogram import StageHistogram
from service.observability.scrape.worker_metrics import WorkerMetrics

#: 100 µs to 10 s: small recurrent models answer faster than the smallest bucket of common defaults.
DURATION_BUCKETS_S = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
#: Connections stay open from a moment to hours.
CONNECTION_BUCKETS_S = (0.1, 1.0, 10.0, 60.0, 300.0, 1800.0, 7200.0, 43200.0)
BATCH_SIZE_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128)
RATIO_BUCKETS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0)
CONFIDENCE_BUCKETS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)

#: Outcomes that count against the availability objective: the request failed, but not because of the client.
FAILED_OUTCOMES = ("internal", "inference_failed", "generation", "not_ready", "overloaded", "deadline_exceeded")

#: Label of requests for no model or an unknown one, so that clients cannot create label values.
NO_MODEL = "none"


class Metrics:
    """The metrics of one running service, on one collector registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._queues, self._slots = QueueCollector(), SlotCollector()
        self._prefixes, self._labels = PrefixCollector(), LabelCollector()
        for kind in (ProcessCollector, PlatformCollector, GCCollector):
            kind(registry=registry)
        for collector in (
            self._queues,
            self._slots,
            self._prefixes,
            self._labels,
            ContainerCollector(),
            LogCollector(),
            find_gpus(),
        ):
            self._register(collector)
        self._declare_requests(registry)
        self._declare_batches(registry)
        self._declare_streams(registry)
        self.speech = SpeechMetrics(registry, DURATION_BUCKETS_S)
        self._declare_connections(registry)
        self._declare_answers(registry)
        self._declare_rollouts(registry)
        self._declare_bundles(registry)
        self._declare_process(registry)

    def watch_queue(self, model: str, depth: Callable[[], int], oldest_age_s: Callable[[], float]) -> Forget:
        """Read the depth and age of a queue at each scrape. The versions of one model are summed."""
        return self._queues.watch(model, Queue(depth, oldest_age_s))

    def watch_slots(self, model: str, streams: Callable[[], int], in_use: Callable[[], int], total: int) -> Forget:
        """Read the streams and rows of a step model at each scrape. The versions of one model are summed."""
        return self._slots.watch(model, Slots(streams, in_use, total))

    def watch_prefixes(self, model: str, cache: Prefixes) -> Forget:
        """Read the counts of a prefix cache at each scrape."""
        return self._prefixes.watch(model, cache)

    def watch(self, collector: Collector) -> None:
        """Read the counts of a part of the service at each scrape."""
        self._register(collector)

    def label_counts(self, model: str) -> Counts[str]:
        """The counts of the labels of a model: `label_counts(model)[label] += 1`."""
        return self._labels.of(model)

    def expect_requests(self, model: str, task: str) -> None:
        """Create the series of ok and of failures at 0: Prometheus cannot see an increase in a new series."""
        for outcome in ("ok", *FAILED_OUTCOMES):
            self.requests.labels(model, task, outcome)

    def forget_bundle(self, model: str, version: str) -> None:
        """Remove the gauges of a bundle that is no longer loaded."""
        for gauge in (self.bundle_info, self.parity_passed, self.execution_provider_info, self.device_fallback):
            gauge.remove_by_labels({"model": model, "version": version})

    def watch_open_bundles(self, num_bytes: Callable[[], int], limit_bytes: int) -> None:
        """Read the memory of open models at each scrape."""
        self.open_model_bytes.set_function(num_bytes)
        self.max_open_model_bytes.set(limit_bytes)

    def tell_shares(self, model: str, shares: Mapping[str, float]) -> None:
        """Show how the requests of a model that name no version are split; nothing if they are not."""
        self.traffic_share.remove_by_labels({"model": model})
        for version, share in shares.items():
            self.traffic_share.labels(model, version).set(share)

    def _register(self, collector: Collector | None) -> None:
        if collector is not None:
            self.registry.register(collector)

    def _declare_requests(self, registry: CollectorRegistry) -> None:
        self.requests = LoopCounter(
            "unroll_requests_total",
            "Number of requests. outcome is ok, cancelled, or the error_type of the response.",
            ["model", "task", "outcome"],
            registry=registry,
        )
        self.protocol_requests = LoopCounter(
            "unroll_protocol_requests_total",
            "Number of requests by the protocol of their route, with the same outcomes.",
            ["protocol", "outcome"],
            registry=registry,
        )
        self.request_duration = LoopHistogram(
            "unroll_request_duration_seconds",
            "Duration of requests in seconds, until the response is ready or its stream has ended.",
            ["model", "task"],
            buckets=DURATION_BUCKETS_S,
            registry=registry,
        )
        self.rejections = Counter(
            "unroll_rejections_total",
            "Number of requests rejected before a model ran, by reason.",
            ["reason"],
            registry=registry,
        )
        self.deadline_misses = Counter(
            "unroll_deadline_misses_total",
            "Number of inputs whose deadline passed, in the queue or while running.",
            ["model", "phase"],
            registry=registry,
        )
        self.open_requests = Gauge("unroll_open_requests", "Number of requests being answered.", registry=registry)
        self.max_open_requests = Gauge(
            "unroll_max_open_requests", "Maximum number of requests being answered at once.", registry=registry
        )
        self.stage_duration = StageHistogram(
            "unroll_stage_duration_seconds",
            "Duration of one stage of a request in seconds: preprocess, queue, inference, postprocess.",
            buckets=DURATION_BUCKETS_S,
            registry=registry,
        )

    def _declare_batches(self, registry: CollectorRegistry) -> None:
        self.batch_size = LoopHistogram(
            "unroll_batch_size",
            "Number of inputs in one run of a graph; for step models, rows in one step.",
            ["model"],
            buckets=BATCH_SIZE_BUCKETS,
            registry=registry,
        )
        self.batch_padding_ratio = LoopHistogram(
            "unroll_batch_padding_ratio",
            "Ratio of padding among the computed tokens of a batch.",
            ["model"],
            buckets=RATIO_BUCKETS,
            registry=registry,
        )
        self.computed_tokens = LoopCounter(
            "unroll_computed_tokens_total",
            "Number of tokens computed by batches, including padding.",
            ["model"],
            registry=registry,
        )
        self.padded_tokens = LoopCounter(
            "unroll_padded_tokens_total",
            "Number of padding tokens computed by batches.",
            ["model"],
            registry=registry,
        )

    def _declare_rollouts(self, registry: CollectorRegistry) -> None:
        self.version_requests = LoopCounter(
            "unroll_version_requests_total",
            "Number of requests by the version that answered, with the same outcomes.",
            ["model", "version", "outcome"],
            registry=registry,
        )
        self.shadow_answers = Counter(
            "unroll_shadow_answers_total",
            "Number of answers of candidates in shadow traffic: agreed, differed, or failed and dropped requests.",
            ["model", "outcome"],
            registry=registry,
        )
        self.shadow_score_distance = Histogram(
            "unroll_shadow_score_distance",
            "Absolute difference of the candidate's score; relative for forecasts and arrays.",
            ["model"],
            buckets=RATIO_BUCKETS,
            registry=registry,
        )
        self.shadow_run_duration = Histogram(
            "unroll_shadow_run_duration_seconds",
            "Time in the graph of the requests that were repeated, in seconds, of the answer and of the candidate.",
            ["model", "role"],
            buckets=DURATION_BUCKETS_S,
            registry=registry,
        )

    def _declare_streams(self, registry: CollectorRegistry) -> None:
        self.time_to_first_token = LoopHistogram(
            "unroll_time_to_first_token_seconds",
            "Time in seconds from the arrival of a streamed generation to its first token.",
            ["model"],
            buckets=DURATION_BUCKETS_S,
            registry=registry,
        )
        self.token_gap = LoopHistogram(
            "unroll_token_gap_seconds",
            "Mean time between tokens in seconds; one observation per text.",
            ["model"],
            buckets=DURATION_BUCKETS_S,
            registry=registry,
        )
        self.generated_tokens = LoopCounter(
            "unroll_generated_tokens_total", "Number of generated tokens.", ["model"], registry=registry
        )
        self.slot_joins = Counter(
            "unroll_slot_joins_total", "Number of requests that joined a running batch.", ["model"], registry=registry
        )
        self.slot_leaves = Counter(
            "unroll_slot_leaves_total",
            "Number of requests that left a running batch, by reason; overrun: the client reads too slowly.",
            ["model", "reason"],
            registry=registry,
        )

    def _declare_connections(self, registry: CollectorRegistry) -> None:
        """Connections and the bodies that they bring; streams of messages that go both ways."""
        self.connections = Gauge("unroll_connections", "Number of open connections.", registry=registry)
        self.max_connections = Gauge("unroll_max_connections", "Maximum number of open connections.", registry=registry)
        self.connections_ended = Counter(
            "unroll_connections_ended_total",
            "Number of connections that the service ended, by reason; unread: the client does not read.",
            ["reason"],
            registry=registry,
        )
        self.held_body_bytes = Gauge(
            "unroll_held_body_bytes",
            "Size of the request bodies that are being received or answered, in bytes.",
            registry=registry,
        )
        self.max_held_body_bytes = Gauge(
            "unroll_max_held_body_bytes",
            "Maximum size of the request bodies that are being received or answered, in bytes.",
            registry=registry,
        )
        self.stream_connections = Gauge(
            "unroll_stream_connections", "Number of open streams of messages.", ["protocol"], registry=registry
        )
        self.stream_messages = LoopCounter(
            "unroll_stream_messages_total",
            "Number of messages of streams, by direction: in or out.",
            ["protocol", "direction"],
            registry=registry,
        )
        self.stream_closes = Counter(
            "unroll_stream_closes_total",
            "Number of streams that have ended, by close code; none: without one.",
            ["protocol", "code"],
            registry=registry,
        )
        self.stream_duration = Histogram(
            "unroll_stream_duration_seconds",
            "Duration of streams in seconds, from the handshake to the end.",
            ["protocol"],
            buckets=CONNECTION_BUCKETS_S,
            registry=registry,
        )

    def _declare_answers(self, registry: CollectorRegistry) -> None:
        self.prediction_confidence = LoopHistogram(
            "unroll_prediction_confidence",
            "Confidence of answers: probability of the label, or mean probability of the tags or tokens.",
            ["model"],
            buckets=CONFIDENCE_BUCKETS,
            registry=registry,
        )
        self.read_tokens = LoopCounter(
            "unroll_read_tokens_total", "Number of input tokens (words or subwords) read.", ["model"], registry=registry
        )
        self.unknown_tokens = LoopCounter(
            "unroll_unknown_tokens_total",
            "Number of input tokens that are not in the vocabulary.",
            ["model"],
            registry=registry,
        )

    def _declare_bundles(self, registry: CollectorRegistry) -> None:
        self.ready = Gauge("unroll_ready", "Whether the service is ready (1) or not (0).", registry=registry)
        self.bundle_info = Gauge(
            "unroll_bundle_info",
            "Loaded bundles, in the labels; always 1.",
            ["model", "version", "task", "digest"],
            registry=registry,
        )
        self.parity_passed = Gauge(
            "unroll_parity_passed",
            "Whether the bundle repeated its recorded answers when it was loaded (1), or failed (0).",
            ["model", "version"],
            registry=registry,
        )
        self.execution_provider_info = Gauge(
            "unroll_execution_provider_info",
            "Execution provider and precision of each bundle, in the labels; always 1.",
            ["model", "version", "provider", "precision"],
            registry=registry,
        )
        self.device_fallback = Gauge(
            "unroll_device_fallback",
            "Whether the bundle runs on the CPU although there is a GPU (1).",
            ["model", "version"],
            registry=registry,
        )
        self.open_model_bytes = Gauge(
            "unroll_open_model_bytes",
            "Estimated memory of the open models in bytes, where it is limited.",
            registry=registry,
        )
        self.max_open_model_bytes = Gauge(
            "unroll_max_open_model_bytes", "Limit of the memory of open models in bytes; 0: none.", registry=registry
        )
        self.evictions = Counter(
            "unroll_model_evictions_total",
            "Number of times a version of a model was closed to make room for another.",
            ["model"],
            registry=registry,
        )
        self.traffic_share = Gauge(
            "unroll_traffic_share",
            "Share of the requests without a version that a version gets, where the traffic is split.",
            ["model", "version"],
            registry=registry,
        )
        self.reloads = Counter(
            "unroll_reloads_total",
            "Number of reloads of the models folder: ok (something changed), unchanged, or failed.",
            ["outcome"],
            registry=registry,
        )
        self.last_reload_successful = Gauge(
            "unroll_last_reload_successful", "Whether the last reload succeeded (1) or failed (0).", registry=registry
        )
        self.last_reload_time = Gauge(
            "unroll_last_reload_timestamp_seconds",
            "Unix time of the last change of loaded bundles, in seconds.",
            registry=registry,
        )

    def _declare_process(self, registry: CollectorRegistry) -> None:
        self.event_loop_lag = Histogram(
            "unroll_event_loop_lag_seconds",
            "Lag of the event loop in seconds, measured ten times a second.",
            buckets=DURATION_BUCKETS_S,
            registry=registry,
        )
        self.background_failures = Counter(
            "unroll_background_failures_total",
            "Number of times a background task failed; it is restarted.",
            ["task"],
            registry=registry,
        )
        self.usage_write_failures = Counter(
            "unroll_usage_write_failures_total",
            "Number of times that usage could not be written to its file; it is kept for the next time.",
            registry=registry,
        )
        self.workers = WorkerMetrics(registry)
        self.start_duration = Gauge(
            "unroll_start_seconds", "Time from process start until ready, in seconds.", registry=registry
        )
        self.build_info = Gauge(
            "unroll_build_info",
            "Versions of the running software, in the labels; always 1.",
            ["version", "onnxruntime", "python"],
            registry=registry,
        )
