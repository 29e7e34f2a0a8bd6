"""The service's metrics among Ray's: each node exports those of its replicas, as `ray_unroll_...`, to Prometheus."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from prometheus_client.registry import CollectorRegistry
from prometheus_client.samples import Sample
from ray import serve
from ray.util.metrics import Gauge

#: Ray reports every ten seconds by default.
PERIOD_S = 5.0


class RayMetrics:
    """Copies the samples of a registry to gauges of Ray, with the replica as a label.

    Counters and histograms become gauges that only grow: `rate` and `histogram_quantile` work on them as before. A
    series keeps its last value until the replica ends, also that of a model which is no longer there.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._gauges: dict[str, Gauge] = {}
        self._replica = serve.get_replica_context().replica_tag

    def start(self) -> None:
        """Copy from now on, in a thread that ends with the process."""
        threading.Thread(target=self._repeat, name="ray-metrics", daemon=True).start()

    def _repeat(self) -> None:
        pause = threading.Event()
        while True:
            self.copy()
            pause.wait(PERIOD_S)

    def copy(self) -> None:
        """Copy all samples once."""
        for sample, text in self._samples():
            gauge = self._gauges.get(sample.name)
            if gauge is None:
                gauge = Gauge(sample.name, text, (*sample.labels, "replica"))
                self._gauges[sample.name] = gauge
            gauge.set(sample.value, {**sample.labels, "replica": self._replica})

    def _samples(self) -> Iterator[tuple[Sample, str]]:
        for metric in self._registry.collect():
            for sample in metric.samples:
                if metric.name.startswith("unroll_") and not sample.name.endswith("_created"):
                    yield sample, metric.documentation
