"""Loads the bundles of a folder: opens them, runs their self-checks, and replaces them when the folder has changed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from service.errors import BundleCorrupt, BundleError, NotReady, NotReadyCause
from service.inference.engines.bundle_entry import BundleEntry, Scan, WatchedFolder
from service.inference.engines.catalogue import Catalogue
from service.inference.engines.engine import OpenBundle
from service.inference.engines.engine_context import EngineContext, EngineOptions
from service.inference.engines.health import ReadinessPolicy
from service.inference.engines.lifecycle.inherited import NONE_INHERITED, InheritedBundles
from service.inference.engines.lifecycle.on_demand import OnDemand
from service.inference.engines.lifecycle.peers import Unloaded
from service.inference.engines.lifecycle.shadowing import Shadowing
from service.inference.engines.open_bundle import open_bundle
from service.inference.engines.retirement import RetiredEngines, close_within
from service.inference.engines.self_check import self_check
from service.inference.engines.start_engine import start_engine
from service.inference.rollout.model_rollout import change_of, taken_over
from service.inference.runtime.ort_runner import default_lanes
from service.inference.scheduling.lanes import Lanes
from service.inference.scheduling.preparation import Preparation
from service.observability.collectors import LaneCollector
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
        inherited: InheritedBundles = NONE_INHERITED,
    ) -> None:
        """`inherited`: bundles that were opened before this process was forked."""
        self._folder = folder
        self._inherited = inherited
        self._options = options
        self._policy = policy
        self._metrics = metrics
        self._catalogue = catalogue
        self._context: EngineContext | None = None
        self._is_closed = False
        #: Models and versions (None: all) that are not opened, whatever the folder holds, until they are loaded again.
        self._unloaded: set[Unloaded] = set()
        #: Held while the catalogue changes.
        self._changing = asyncio.Lock()
        self.retired = RetiredEngines()
        self.shadowing = Shadowing(metrics, options.keeps_texts)
        self.on_demand = OnDemand(
            options.model_memory_bytes, catalogue, policy, metrics, self._changing, self._open_and_connect
        )

    @property
    def lanes(self) -> Lanes | None:
        """The threads that run the graphs; None before loading."""
        return self._context.lanes if self._context else None

    @property
    def unloaded(self) -> list[Unloaded]:
        """Models and versions that are not opened until they are loaded again."""
        return sorted(self._unloaded, key=str)

    async def load(self, unloaded: Collection[Unloaded] = ()) -> None:
        """Open, check and start all but the `unloaded`, one per lane at a time; failures are recorded, not raised."""
        async with self._changing:
            self._unloaded.update(unloaded)
            if self._context is None:  # a start that failed in the middle is repeated
                weights = self._options.weights
                lanes = Lanes(self._options.num_lanes or default_lanes(self._options.device), weights=weights)
                preparation = Preparation(max(_MIN_PREPARING_THREADS, lanes.num_lanes), weights)
                self._context = EngineContext(lanes, preparation, self._options, self._metrics)
                self._metrics.watch(LaneCollector(lanes))
            scan = await asyncio.to_thread(self._folder.scan)
            if scan.problem:
                logger.error("nothing to serve", extra={"reason": scan.problem})
            entries = [
                BundleEntry(path, fingerprint, is_required=self._policy.requires(path.parent.name))
                for path, fingerprint in scan.found.items()
            ]
            self._catalogue.replace(entries, scan.problem)
            self._take_rollouts(scan)
            wanted = [entry for entry in entries if not self._is_unloaded(entry)]
            for entry in entries:
                if entry not in wanted:
                    entry.unload()
                    continue
                self._metrics.parity_passed.labels(entry.name, entry.version).set(0)
            await self._bring_up(wanted, self._context)
            self.shadowing.connect(self._catalogue.entries, self._catalogue.rollouts)
            self._metrics.last_reload_time.set(time.time())
            is_broken = any(rollout.problem for rollout in self._catalogue.rollouts.values())
            has_failed = bool(scan.problem) or is_broken or any(entry.state == "failed" for entry in entries)
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

    async def load_model(self, name: str, version: str | None = None) -> None:
        """Open what the folder has of a model, all versions or one, and take over what changed in it.

        Raises:
            UnknownModel: the folder has no such model or version.
            BundleError: a version cannot be used. What answered before continues to answer.
            NotReady: the service is starting or stopping.
        """
        async with self._changing:
            context = self._require_context()
            scan = await asyncio.to_thread(self._folder.scan)
            wanted = scan.named(name, version)
            self._unmark(name, wanted, scan)
            known = {entry.path: entry for entry in self._catalogue.entries}
            candidates = [
                BundleEntry(path, scan.found[path], is_required=False)
                for path in wanted
                if path not in known or known[path].fingerprint != scan.found[path] or known[path].is_faulty
            ]
            removed = [path for path in scan.gone(known) if path.parent.name == name]
            await self._take_over(known, candidates, removed, context, is_asked=True)
            self._take_rollouts(scan)
        failed = next((candidate for candidate in candidates if candidate.state == "failed"), None)
        if failed is not None:
            raise BundleError(failed.path, failed.reason.removeprefix(f"{failed.path}: "))

    async def unload_model(self, name: str, version: str | None = None) -> None:
        """Open a model, or one version of it, no more. Requests that it has are answered; then its memory is freed.

        Raises:
            UnknownModel: there is no such model or version.
            NotReady: the service is starting or stopping.
        """
        async with self._changing:
            self._require_context()
            versions = self._catalogue.versions(name)
            entries = versions if version is None else [self._catalogue.entry(name, version)]
            self._unloaded.add((name, version))
            for entry in entries:
                self._unload(entry)

    async def change_rollout(self, name: str, changes: Mapping[str, Any]) -> None:
        """Change aliases, traffic or shadow of a model in its file, and apply them.

        Raises:
            UnknownModel: there is no such model, or a version that is named now is not there.
            InvalidInput: the new values do not fit together.
            BundleError: the file that is there cannot be used, or not be written.
            NotReady: the service is starting or stopping.
        """
        async with self._changing:
            self._require_context()
            there = [entry.version for entry in self._catalogue.versions(name)]
            await asyncio.to_thread(self._folder.change_rollout, name, changes, there)
            self._take_rollouts(await asyncio.to_thread(self._folder.scan))

    async def take_rollouts(self) -> None:
        """Apply what the files of rollouts say now."""
        async with self._changing:
            self._take_rollouts(await asyncio.to_thread(self._folder.scan))

    async def close(self, drain_timeout_s: float) -> None:
        """Give waiting requests up to `drain_timeout_s` seconds, then close all engines and end the lanes."""
        self._is_closed = True
        await self.on_demand.close()
        await self.shadowing.close()
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
            if path not in known or known[path].fingerprint != fingerprint or (retry and known[path].has_failed)
        ]
        removed = scan.gone(known)
        before = self._catalogue.rollouts
        await self._take_over(known, candidates, removed, context)
        self._take_rollouts(scan)
        return self._outcome(candidates, removed, change_of(before, self._catalogue.rollouts, retry))

    async def _take_over(
        self,
        known: dict[Path, BundleEntry],
        candidates: Sequence[BundleEntry],
        removed: Sequence[Path],
        context: EngineContext,
        is_asked: bool = False,
    ) -> None:
        """Open the candidates but for those that are to stay unloaded, and list what there is from now on.

        `is_asked`: also those that would wait for their first request.
        """
        to_open = [candidate for candidate in candidates if not self._is_unloaded(candidate)]
        for candidate in to_open:
            before = known.get(candidate.path)
            candidate.replaces_open = is_asked or (before is not None and before.engine is not None)
        await self._bring_up(to_open, context)
        for candidate in candidates:
            if self._is_unloaded(candidate):
                candidate.unload()
            known[candidate.path] = self._chosen(known.get(candidate.path), candidate)
        for path in removed:
            self._remove(known.pop(path))
        if not candidates and not removed and not self._catalogue.problem:
            return
        self._catalogue.replace(sorted(known.values(), key=lambda entry: (entry.name, entry.order)))

    def _take_rollouts(self, scan: Scan) -> None:
        """Apply aliases and traffic at once, after the bundles that they name are open."""
        before, unreadable = self._catalogue.rollouts, {path.name for path in scan.unreadable}
        self._catalogue.rollouts = taken_over(before, scan.rollouts, unreadable)
        for name, rollout in self._catalogue.rollouts.items():
            if rollout is not before.get(name):
                self._metrics.tell_shares(name, rollout.shares)
                rollout.report({entry.version for entry in self._catalogue.entries if entry.name == name})
        self.shadowing.connect(self._catalogue.entries, self._catalogue.rollouts)

    def _outcome(
        self, candidates: Sequence[BundleEntry], removed: Sequence[Path], rollouts: ReloadOutcome
    ) -> ReloadOutcome:
        if rollouts == "failed" or any(candidate.state == "failed" for candidate in candidates):
            return "failed"
        if not candidates and not removed and rollouts == "unchanged":
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

    async def _bring_up(self, entries: Sequence[BundleEntry], context: EngineContext) -> None:
        """Bring entries from loading to ready or failed; where memory is limited, those that can wait to idle."""
        waiting = [entry for entry in entries if self.on_demand.waits(entry) and not entry.replaces_open]
        for entry in waiting:
            await asyncio.to_thread(self.on_demand.prepare, entry)
            if entry.state == "idle":
                self._metrics.forget_bundle(entry.name, entry.version)
        to_open = [entry for entry in entries if entry not in waiting]
        await self.on_demand.make_room(to_open)
        await self._open_all(to_open, context)

    async def _open_and_connect(self, entry: BundleEntry) -> None:
        """Open a bundle for its first request."""
        await self._open(entry, self._require_context())
        if entry.state == "failed":
            self._metrics.parity_passed.labels(entry.name, entry.version).set(0)
        self.shadowing.connect(self._catalogue.entries, self._catalogue.rollouts)

    async def _open(self, entry: BundleEntry, context: EngineContext) -> None:
        roots, inherited = self._folder.link_roots, self._inherited.take(entry.path, entry.fingerprint)
        try:
            opened = await asyncio.to_thread(_open_and_check, entry.path, self._options, roots, inherited)
        except Exception as error:  # whatever is wrong with one bundle, the others still load
            await asyncio.to_thread(entry.fail, str(error) or type(error).__name__)
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

    def _require_context(self) -> EngineContext:
        """What engines share. Raises NotReady before the bundles were loaded, and once the service stops."""
        if self._is_closed or self._context is None:
            cause: NotReadyCause = "draining" if self._is_closed else "loading"
            raise NotReady("models are loaded and unloaded while the service runs", cause=cause)
        return self._context

    def _unmark(self, name: str, wanted: Sequence[Path], scan: Scan) -> None:
        """Let these versions be opened. Of a model that was unloaded as a whole, the others stay unloaded."""
        if (name, None) in self._unloaded:
            self._unloaded.remove((name, None))
            self._unloaded.update((name, path.name) for path in scan.found if path.parent.name == name)
        self._unloaded -= {(name, path.name) for path in wanted}

    def _is_unloaded(self, entry: BundleEntry) -> bool:
        return not self._unloaded.isdisjoint({(entry.name, None), (entry.name, entry.version)})

    def _unload(self, entry: BundleEntry) -> None:
        logger.info("bundle unloaded", extra={"model": entry.name, "version": entry.version})
        self._metrics.forget_bundle(entry.name, entry.version)
        engine = entry.unload()
        if engine is not None:
            self.retired.retire(engine)

    def _remove(self, entry: BundleEntry) -> None:
        logger.info("bundle removed", extra={"model": entry.name, "version": entry.version})
        self._metrics.forget_bundle(entry.name, entry.version)
        if entry.engine is not None:
            self.retired.retire(entry.engine)


def _open_and_check(
    path: Path, options: EngineOptions, link_roots: Sequence[Path], inherited: OpenBundle | None
) -> OpenBundle:
    """Load a bundle and open its graphs, if it is not open; let it answer its examples. Raises BundleError."""
    lanes = options.num_lanes or default_lanes(options.device)
    opened = inherited or open_bundle(
        path, options.device, 1, options.precision, lanes, link_roots, options.mapped_graphs
    )
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
