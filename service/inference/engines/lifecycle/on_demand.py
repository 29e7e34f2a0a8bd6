"""Lazy loading within a memory budget: a bundle is opened for its first request, the least recently used one closed.

A bundle that waits for its first request is `idle`: its manifest was read, so that its task is known, and nothing else
of it is in memory. All requests that need it wait for one opening. A bundle with a request in flight is never closed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from service.bundle.load import read_manifest
from service.errors import BundleError, StillOpening
from service.inference.engines.bundle_entry import BundleEntry
from service.inference.engines.catalogue import Catalogue
from service.inference.engines.health import ReadinessPolicy
from service.inference.engines.lifecycle.memory_estimate import estimated_bytes
from service.observability.metrics import Metrics

logger = logging.getLogger(__name__)

#: How long an opening waits for a bundle to have no request, where all the memory is in use.
_ROOM_TIMEOUT_S = 10.0
_POLL_S = 0.02

OpenEntry = Callable[[BundleEntry], Awaitable[None]]


class OnDemand:
    """Opens idle bundles and closes others within `budget_bytes`; 0: all bundles are opened at the start, and stay."""

    def __init__(
        self,
        budget_bytes: int,
        catalogue: Catalogue,
        policy: ReadinessPolicy,
        metrics: Metrics,
        changing: asyncio.Lock,
        open_entry: OpenEntry,
    ) -> None:
        """`changing` is held while the catalogue changes; `open_entry` brings an entry to ready or failed."""
        self._budget_bytes = budget_bytes
        self._catalogue = catalogue
        self._policy = policy
        self._metrics = metrics
        self._changing = changing
        self._open_entry = open_entry
        self._opening: dict[BundleEntry, asyncio.Task[None]] = {}
        if budget_bytes:
            metrics.watch_open_bundles(lambda: self._in_use(catalogue.entries), budget_bytes)

    def waits(self, entry: BundleEntry) -> bool:
        """Whether the bundle is opened for its first request only. Those that UNROLL_READY names are not."""
        return bool(self._budget_bytes) and not self._is_pinned(entry)

    def prepare(self, entry: BundleEntry) -> None:
        """Read what is needed of a bundle before it is opened. Takes as long as the disk does; never raises."""
        try:
            entry.idle(read_manifest(entry.path))
            self._weigh(entry)
        except (BundleError, OSError) as error:
            entry.fail(str(error))
            logger.error("bundle failed", extra={"model": entry.name, "version": entry.version, "reason": entry.reason})

    def begin(self, entry: BundleEntry) -> StillOpening:
        """Open an idle bundle, unless that has begun. Returns what its requests wait for."""
        task = self._opening.get(entry)
        if task is None:
            task = asyncio.create_task(self._open(entry), name=f"open-{entry.name}")
            self._opening[entry] = task
            task.add_done_callback(lambda _: self._opening.pop(entry, None))
        where = f"{entry.name} version {entry.version}"
        return StillOpening(f"{where} is not ready", [f"{where} is being opened"], "loading", opened=task)

    async def make_room(self, entries: Iterable[BundleEntry]) -> bool:
        """Close what was used least recently until these bundles fit. Returns whether they do. Hold `changing`."""
        if not self._budget_bytes:
            return True
        opening = list(entries)
        for entry in opening:
            await asyncio.to_thread(self._weigh, entry)
        others = [entry for entry in self._catalogue.entries if entry not in opening]
        needed_bytes = sum(entry.memory_bytes for entry in opening)
        give_up_s = time.monotonic() + _ROOM_TIMEOUT_S
        while self._in_use(others) + needed_bytes > self._budget_bytes:
            if not await self._close_one(others):
                if self._never_fits(others, needed_bytes) or time.monotonic() > give_up_s:
                    return False
                await asyncio.sleep(_POLL_S)
        return True

    async def close(self) -> None:
        """Open nothing more."""
        for task in self._opening.values():
            task.cancel()
        await asyncio.gather(*self._opening.values(), return_exceptions=True)

    async def _open(self, entry: BundleEntry) -> None:
        async with self._changing:
            if entry not in self._catalogue.entries or entry.state != "idle":
                return  # a reload was faster
            if not await self.make_room([entry]):
                self._refuse(entry)
                return
            await self._open_entry(entry)

    def _refuse(self, entry: BundleEntry) -> None:
        """There is no room now; if there cannot be any, the bundle has failed."""
        limit = f"UNROLL_MODEL_MEMORY_BYTES is {self._budget_bytes:,}"
        reason = f"it takes about {entry.memory_bytes:,} bytes of memory, and {limit}"
        where = {"model": entry.name, "version": entry.version, "reason": reason}
        if self._never_fits([other for other in self._catalogue.entries if other is not entry], entry.memory_bytes):
            entry.state, entry.reason = "failed", reason
            logger.error("bundle failed", extra=where)
        else:
            logger.warning("no memory for a bundle: all others are in use", extra=where)

    async def _close_one(self, entries: Iterable[BundleEntry]) -> bool:
        """Close the bundle whose last request is the longest ago. Returns whether there was one without requests."""
        unused = [entry for entry in entries if not self._is_pinned(entry) and _is_unused(entry)]
        if not unused:
            return False
        entry = min(unused, key=_last_used_s)
        engine = entry.engine
        assert engine is not None, "it is open"
        entry.idle(engine.opened.bundle.manifest)
        self._metrics.forget_bundle(entry.name, entry.version)
        self._metrics.evictions.labels(entry.name).inc()
        logger.info("bundle closed", extra={"model": entry.name, "version": entry.version, "reason": "memory"})
        await engine.close()
        return True

    def _in_use(self, entries: Iterable[BundleEntry]) -> int:
        return sum(entry.memory_bytes for entry in entries if entry.engine is not None)

    def _never_fits(self, others: Iterable[BundleEntry], needed_bytes: int) -> bool:
        pinned = [entry for entry in others if self._is_pinned(entry)]
        return self._in_use(pinned) + needed_bytes > self._budget_bytes

    def _weigh(self, entry: BundleEntry) -> None:
        """Set how much memory an entry takes when it is open; what cannot be read is told when it is opened."""
        try:
            manifest = entry.manifest or read_manifest(entry.path)
            entry.memory_bytes = estimated_bytes(Path(entry.path), manifest)
        except (BundleError, OSError):
            entry.memory_bytes = 0

    def _is_pinned(self, entry: BundleEntry) -> bool:
        """Whether the readiness of the service depends on this model by name: it stays open."""
        return self._policy.names_it(entry.name)


def _is_unused(entry: BundleEntry) -> bool:
    engine = entry.engine
    return engine is not None and not engine.num_pending and not engine.opened.usage.num_leases


def _last_used_s(entry: BundleEntry) -> float:
    assert entry.engine is not None, "it is open"
    return entry.engine.opened.usage.last_s
