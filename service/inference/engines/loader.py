"""Loads the bundles of a folder: opens them, runs their self-checks, and replaces them when the folder has changed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from service.errors import BundleCorrupt, BundleError
from service.inference.engines.bundle_entry import BundleEntry, Scan, WatchedFolder
from service.inference.engines.catalogue import Catalogue
from service.inference.engines.engine import OpenBundle
from service.inference.engines.engine_context import EngineContext, EngineOptions
from service.inference.engines.health import ReadinessPolicy
from service.inference.engines.open_bundle import open_bundle
from service.inference.engines.retirement import RetiredEngines, close_within
from service.inference.engines.self_check import self_check
from service.inference.engines.start_engine import start_engine
from service.inference.runtime.ort_runner import default_lanes
from service.inference.scheduling.lanes import Lanes
from service.inference.scheduling.preparation import Preparation
from service.observability.metrics import Metrics

logger = logging.getLogger(__name__)

ReloadOutcome = Literal["ok", "unchanged", "failed"]

#: With one thread a small request would wait for a piece of a large one.
_MIN_PREPARING_THREADS = 2


class BundleLoader:
    """Brings the catalogue to what is in the models folder.

    A bundle that fails at the start keeps the service from being ready if the policy requires it, so that a rollout
    stops; the others answer all the same. A bundle that fails in a later reload changes nothing: what answered before
    continues to answer.
    """

    def __init__(
        self,
        folder: WatchedFolder,
        options: EngineOptions,
        metrics: Metrics,
        catalogue: Catalogue,
        policy: ReadinessPolicy,
    ) -> None:
        self._folder = folder
        self._options = options
        self._policy = policy
        self._metrics = metrics
        self._catalogue = catalogue
        self._context: EngineContext | None = None
        self._is_closed = False
        #: Held while the catalogue changes.
        self._changing = asyncio.Lock()
        self.retired = RetiredEngines()

    @property
    def lanes(self) -> Lanes | None:
        """The threads that run the graphs; None before loading."""
        return self._context.lanes if self._context else None

    async def load(self) -> None:
        """Open, check and start every bundle, one per lane at a time; failures are recorded, not raised."""
        async with self._changing:
            if self._context is None:  # a start that failed in the middle is repeated
                weights = self._options.weights
                lanes = Lanes(self._options.num_lanes or default_lanes(self._options.device), weights=weights)
                preparation = Preparation(max(_MIN_PREPARING_THREADS, lanes.num_lanes), weights)
                self._context = EngineContext(lanes, preparation, self._options, self._metrics)
                self._metrics.watch_lanes(lanes)
            scan = await asyncio.to_thread(self._folder.scan)
            if scan.problem:
                logger.error("nothing to serve", extra={"reason": scan.problem})
            entries = [
                BundleEntry(path, fingerprint, is_required=self._policy.requires(path.parent.name))
                for path, fingerprint in scan.found.items()
            ]
            self._catalogue.replace(entries, scan.problem)
            for entry in entries:
                self._metrics.parity_passed.labels(entry.name, entry.version).set(0)
            await self._open_all(entries, self._context)
            self._metrics.last_reload_time.set(time.time())
            has_failed = bool(scan.problem) or any(entry.state == "failed" for entry in entries)
            self._metrics.last_reload_successful.set(not has_failed)

    async def reload(self, retry: bool) -> ReloadOutcome:
        """List the folder again: open what is new or changed, retire what is gone.

        A bundle that cannot be opened, or fails its self-check, replaces nothing. With `retry`, what failed before is
        opened once more although its files have not changed.
        """
        async with self._changing:
            if self._is_closed or self._context is None:
                return "unchanged"
            outcome = await self._reload(self._context, retry)
        self._metrics.reloads.labels(outcome).inc()
        if outcome != "unchanged":
            self._metrics.last_reload_successful.set(outcome == "ok")
        return outcome

    async def close(self, drain_timeout_s: float) -> None:
        """Give waiting requests up to `drain_timeout_s` seconds, then close all engines and end the lanes."""
        self._is_closed = True
        answering = [entry.engine for entry in self._catalogue.entries if entry.engine is not None]
        num_left = await close_within([*self.retired.take_back(), *answering], drain_timeout_s)
        if num_left:
            logger.warning("stopped with work left", extra={"waiting": num_left})
        if self._context is not None:
            self._context.lanes.close()
            self._context.preparation.close()

    async def _reload(self, context: EngineContext, retry: bool) -> ReloadOutcome:
        scan = await asyncio.to_thread(self._folder.scan)
        if scan.problem:  # such as an unmounted volume: keep what is loaded
            reason = {"reason": scan.problem}
            logger.error("the models folder cannot be read or is empty: nothing was changed", extra=reason)
            return "failed"
        known = {entry.path: entry for entry in self._catalogue.entries}
        candidates = [
            BundleEntry(path, fingerprint, is_required=False)
            for path, fingerprint in scan.found.items()
            if path not in known or known[path].fingerprint != fingerprint or (retry and known[path].state == "failed")
        ]
        removed = [known.pop(path) for path in _gone(known, scan)]
        await self._open_all(candidates, context)
        for candidate in candidates:
            known[candidate.path] = self._chosen(known.get(candidate.path), candidate)
        for entry in removed:
            self._remove(entry)
        self._catalogue.replace(sorted(known.values(), key=lambda entry: (entry.name, entry.order)))
        return self._outcome(candidates, removed)

    def _outcome(self, candidates: Sequence[BundleEntry], removed: Sequence[BundleEntry]) -> ReloadOutcome:
        if any(candidate.state == "failed" for candidate in candidates):
            return "failed"
        if not candidates and not removed:
            return "unchanged"
        self._metrics.last_reload_time.set(time.time())
        return "ok"

    async def _open_all(self, entries: Sequence[BundleEntry], context: EngineContext) -> None:
        """Bring entries from loading to ready or failed."""
        free = asyncio.Semaphore(context.lanes.num_lanes)

        async def open_one(entry: BundleEntry) -> None:
            async with free:
                await self._open(entry, context)

        await asyncio.gather(*map(open_one, entries))

    async def _open(self, entry: BundleEntry, context: EngineContext) -> None:
        try:
            opened = await asyncio.to_thread(_open_and_check, entry.path, self._options, self._folder.link_roots)
        except Exception as error:  # whatever is wrong with one bundle, the others still load
            entry.state, entry.reason = "failed", str(error) or type(error).__name__
            logger.error(
                "bundle failed",
                extra={"model": entry.name, "version": entry.version, "reason": entry.reason},
                exc_info=None if isinstance(error, BundleError) else error,
            )
            return
        self._metrics.forget_bundle(entry.name, entry.version)  # of what answered so far under this name and version
        entry.engine, entry.state = start_engine(opened, context), "ready"
        entry.is_required = self._policy.requires(entry.name)
        _report_ready(entry, opened, self._metrics)

    def _chosen(self, before: BundleEntry | None, candidate: BundleEntry) -> BundleEntry:
        """The candidate, unless it failed and another answers in its place."""
        if candidate.state == "failed" and before is not None and before.state == "ready":
            before.fingerprint = candidate.fingerprint
            before.reason = f"its changed files were refused: {candidate.reason}"
            return before
        if before is not None and before.engine is not None:
            self.retired.retire(before.engine)
        if candidate.state == "failed":
            self._metrics.parity_passed.labels(candidate.name, candidate.version).set(0)
            candidate.is_required = before is not None and before.is_required
        return candidate

    def _remove(self, entry: BundleEntry) -> None:
        logger.info("bundle removed", extra={"model": entry.name, "version": entry.version})
        self._metrics.forget_bundle(entry.name, entry.version)
        if entry.engine is not None:
            self.retired.retire(entry.engine)


def _gone(known: Mapping[Path, BundleEntry], scan: Scan) -> list[Path]:
    """The bundles that are there no longer. Of a folder that cannot be listed right now that is not known."""
    return [path for path in known if path not in scan.found and path.parent not in scan.unreadable]


def _open_and_check(path: Path, options: EngineOptions, link_roots: Sequence[Path]) -> OpenBundle:
    """Load a bundle, open its graphs and let it answer its examples. Raises BundleError."""
    num_lanes = options.num_lanes or default_lanes(options.device)
    opened = open_bundle(path, options.device, precision=options.precision, num_lanes=num_lanes, link_roots=link_roots)
    manifest = opened.bundle.manifest
    if (manifest.name, manifest.version) != (path.parent.name, path.name):
        raise BundleCorrupt(path, f"its manifest says {manifest.name}/{manifest.version}: move it there")
    self_check(opened)
    logger.debug("bundle checked", extra={"identity": opened.identity})  # computed here, off the event loop
    return opened


def _report_ready(entry: BundleEntry, opened: OpenBundle, metrics: Metrics) -> None:
    """Report the bundle that answers now in metrics and log."""
    manifest, runner = opened.bundle.manifest, opened.runner
    metrics.expect_requests(entry.name, manifest.task)
    metrics.parity_passed.labels(entry.name, entry.version).set(1)
    metrics.bundle_info.labels(entry.name, entry.version, manifest.task, opened.bundle.digest[:12]).set(1)
    metrics.execution_provider_info.labels(entry.name, entry.version, runner.provider, runner.precision).set(1)
    metrics.device_fallback.labels(entry.name, entry.version).set(bool(runner.fallback_reason))
    described = {"task": manifest.task, "provider": runner.provider, "precision": runner.precision}
    if not manifest.digest:
        advice = f"its manifest has no digest, so that changes of it go unnoticed: unroll models seal {entry.name}"
        logger.warning("bundle unsealed", extra={"model": entry.name, "version": entry.version, "reason": advice})
    logger.info("bundle ready", extra={"model": entry.name, "version": entry.version, **described})
