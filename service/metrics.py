"""Every Prometheus metric of the service, declared once. Labels take only names that are on disk or in the code."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

#: 100 us to 10 s: small recurrent models answer in less than the smallest bucket of common defaults.
DURATION_BUCKETS_S = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
BATCH_SIZE_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128)
RATIO_BUCKETS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0)

#: The label of requests that named no model, or one that is not here: a caller cannot create label values.
NO_MODEL = "none"


class Metrics:
    """The metrics of one running service, on one collector registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)
        self._declare_requests(registry)
        self._declare_batches(registry)
        self._declare_bundles(registry)

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
        self.queue_depth = Gauge("unroll_queue_depth", "Inputs waiting for a batch.", ["model"], registry=registry)
        self.live_streams = Gauge("unroll_live_streams", "Streams being generated.", ["model"], registry=registry)
        self.generated_tokens = Counter(
            "unroll_generated_tokens_total", "Tokens generated.", ["model"], registry=registry
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
            "Always 1; the label says which onnxruntime provider runs the bundle.",
            ["model", "version", "provider"],
            registry=registry,
        )
