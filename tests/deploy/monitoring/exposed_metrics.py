"""Every metric that the service can export, with type and labels, collected from the objects that declare them."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

from service.access.access_control import AccessControl
from service.observability.collectors import LaneCollector, SessionCollector, SessionStoreCollector, StateCollector
from service.observability.key_collector import KeyCollector
from service.observability.metrics import Metrics
from service.observability.process import ContainerCollector, GpuCollector


class Exposed(NamedTuple):
    """One metric, as in a row of the table in deploy/metrics.md."""

    type: str
    labels: frozenset[str]


def exposed_metrics() -> dict[str, Exposed]:
    """Return all metrics by name, counters with `_total`; hardware-dependent parts are replaced by fakes."""
    return {_full_name(family): Exposed(family.type, labels) for family, labels in _families(_full_registry())}


def series_names() -> set[str]:
    """Return the names that an expression may use: the metrics, and the three series of each histogram."""
    exposed = exposed_metrics()
    histograms = [name for name, metric in exposed.items() if metric.type == "histogram"]
    return exposed.keys() | {name + suffix for name in histograms for suffix in ("_bucket", "_count", "_sum")}


def _full_registry() -> CollectorRegistry:
    metrics = Metrics(CollectorRegistry())
    metrics.watch_queue("m", lambda: 0, lambda: 0.0)
    metrics.watch_slots("m", lambda: 0, lambda: 0, 1)
    metrics.watch_prefixes(
        "m", SimpleNamespace(num_hits=0, num_misses=0, num_hit_tokens=0, num_evictions=0, num_bytes=0)
    )
    metrics.watch(SessionCollector(_Sessions()))
    metrics.watch(SessionStoreCollector({}))
    access = AccessControl(None)
    access.ledger.of("k", "m")
    access.refusals["k", "scope"] += 1
    metrics.watch(KeyCollector(access))
    metrics.watch(StateCollector(SimpleNamespace(num_sealed=0, num_opened=0, num_refused=0)))
    metrics.watch(LaneCollector(SimpleNamespace(num_lanes=1, busy_s=0.0, run_age_s=0.0)))
    metrics.label_counts("m")["l"] += 1
    return metrics.registry


class _Sessions(Counter[str]):
    """An empty session store."""

    num_bytes = num_evicted = num_expired = 0


def _families(registry: CollectorRegistry) -> list[tuple[Metric, frozenset[str]]]:
    found = []
    for collector in [*registry._collector_to_names, GpuCollector(_NVML), ContainerCollector()]:
        declared = getattr(collector, "_labelnames", None)
        for family in collector.collect():
            names = (
                declared if declared is not None else getattr(family, "_labelnames", getattr(family, "label_names", ()))
            )
            seen = {label for sample in family.samples for label in sample.labels} - {"le"}
            found.append((family, frozenset(names) | seen))
    return found


#: Fake NVML on a machine without a GPU: the metrics are declared, but have no values.
_NVML = SimpleNamespace(NVMLError=RuntimeError, nvmlDeviceGetCount=lambda: 0)


def _full_name(family: Metric) -> str:
    return f"{family.name}_total" if family.type == "counter" else family.name
