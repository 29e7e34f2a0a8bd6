"""Metrics of the group of workers, as each of them sees it."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge


class WorkerMetrics:
    """How many workers are ready and how many should be. One process that serves alone is one of one."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._ready = Gauge(
            "unroll_workers", "Number of worker processes that are ready; 1 where one serves alone.", registry=registry
        )
        self._wanted = Gauge(
            "unroll_max_workers", "Number of worker processes that should be ready.", registry=registry
        )
        # The supervisor counts them, in what it keeps of workers that have ended.
        Counter("unroll_worker_restarts_total", "Number of workers that ended and were replaced.", registry=registry)
        self._ready.set(1)
        self._wanted.set(1)

    def watch(self, count: int, num_ready: Callable[[], int]) -> None:
        """Read at each scrape how many of `count` are ready."""
        self._wanted.set(count)
        self._ready.set_function(num_ready)
