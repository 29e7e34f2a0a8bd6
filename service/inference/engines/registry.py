"""The bundles of one service: what is loading, what answers, what failed and why; and what changed in their folder."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from service.errors import BundleCorrupt, BundleError, InvalidInput, NotReady, UnknownModel
from service.inference.engines.bundle_entry import BundleEntry, Fingerprint, look_into
from service.inference.engines.engine import Engine, OpenBundle
from service.inference.engines.engine_context import EngineContext, EngineOptions
from service.inference.engines.generation_engine import GenerationEngine
from service.inference.engines.open_bundle import open_bundle
from service.inference.engines.predict_engine import PredictEngine
from service.inference.engines.self_check import self_check
from service.inference.engines.start_engine import start_engine
from service.inference.runtime.ort_runner import default_lanes
from service.inference.scheduling.lanes import Lanes
from service.observability.metrics import Metrics

logger = logging.getLogger(__name__)

Route = Literal["predict", "generate"]
ReloadOutcome = Literal["ok", "unchanged", "failed"]

_ENGINE_OF_ROUTE: dict[Route, type[Engine]] = {"predict": PredictEngine, "generate": GenerationEngine}
_DRAIN_POLL_S = 0.05
#: A request may have found an engine and not yet have come to its queue: text is cut first, and long texts take time.
_GRACE_S = 5.0


class Registry:
    """Loads every bundle of a folder and finds the right engine for a request.

    At the start a bundle that fails keeps the whole service from being ready, so that a roll-out stops; the healthy
    ones answer all the same. Later, when the folder has changed, a bundle that fails changes nothing: what answered
    before goes on to answer.
    """

    def __init__(self, models_dir: Path, options: EngineOptions, metrics: Metrics) -> None:
        self._models_dir = models_dir
        self._options = options
        self._metrics = metrics
        self._lanes: Lanes | None = None
        self._context: EngineContext | None = None
        self._text_pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="text")
        self._is_listed = False
        self._problem = ""
        self._is_leaving = False
        self._is_draining = False
        #: Held while the entries change.
        self._changing = asyncio.Lock()
        #: Engines that were replaced, each with the task that closes it when its requests are done.
        self._retiring: dict[Engine, asyncio.Task[None]] = {}
        self.entries: list[BundleEntry] = []
        self._versions: dict[str, list[BundleEntry]] = {}

    async def load(self) -> None:
        """Open, check and start every bundle, one for each lane at a time; failures are recorded, not raised."""
        async with self._changing:
            self._lanes = Lanes(self._options.num_lanes or default_lanes(self._options.device))
            self._context = EngineContext(self._lanes, self._text_pool, self._options, self._metrics)
            self._metrics.watch_lanes(self._lanes)
            found, self._problem = self._look()
            if self._problem:
                logger.error("nothing to serve", extra={"reason": self._problem})
            self._arrange([BundleEntry(path, fingerprint) for path, fingerprint in found.items()])
            self._is_listed = True
            for entry in self.entries:
                self._metrics.parity_passed.labels(entry.name, entry.version).set(0)
            await self._open_all(self.entries)
            self._metrics.last_reload_time.set(time.time())
            self._metrics.last_reload_successful.set(not self.reasons())

    async def reload(self, retry: bool = True) -> ReloadOutcome:
        """AttentionHistory into the folder again: open what is new or changed, let go of what is gone.

        What cannot be opened, or fails its self-check, replaces nothing. With `retry`, what failed before is opened
        once more though its files have not changed.
        """
        async with self._changing:
            if self._is_draining or self._context is None:
                return "unchanged"
            found, problem = await asyncio.to_thread(self._look)
            outcome = self._refuse(problem) if problem else await self._take_over(found, retry)
        self._metrics.reloads.labels(outcome).inc()
        if outcome != "unchanged":
            self._metrics.last_reload_successful.set(outcome == "ok")
        return outcome

    async def retired(self) -> None:
        """Wait until every engine that was replaced has answered its last request and is closed."""
        await asyncio.gather(*self._retiring.values())

    def reasons(self) -> list[str]:
        """Why the service is not ready, one sentence each; empty when it is."""
        if self._is_leaving or self._is_draining:
            return ["the service is stopping"]
        if not self._is_listed:
            return ["the bundles have not been listed yet"]
        listed = [self._problem] if self._problem else []
        return listed + [entry.obstacle for entry in self.entries if entry.is_required and entry.obstacle]

    def standstill(self, max_run_s: float) -> str:
        """Why this process will not get going again by itself, so that it should be restarted; "" while all is well.

        A run that takes longer than `max_run_s` counts as stuck; 0 allows any.
        """
        if self._lanes is None or self._is_draining:
            return ""
        if not self._lanes.is_alive:
            return "a lane has ended; the log says why"
        age_s = self._lanes.run_age_s
        return f"a run has been going on for {age_s:.0f} s" if 0.0 < max_run_s < age_s else ""

    def find(self, route: Route, name: str | None, version: str | None) -> Engine:
        """The engine that answers: by default the highest version, and the only model if there is only one.

        Raises:
            UnknownModel: there is no such model or version.
            InvalidInput: no model was named and there is a choice, or the model does something else.
            NotReady: it is still loading, or it failed.
        """
        if self._is_draining or not self._is_listed:
            cause: Literal["draining", "loading"] = "draining" if self._is_draining else "loading"
            raise NotReady("the service is not ready", self.reasons(), cause)
        name = name or self._only_candidate(route)
        entry = self.entry(name, version)
        if entry.engine is None or not entry.engine.is_alive:
            raise NotReady(f"{name} version {entry.version} is not ready", [entry.obstacle], entry.cause)
        if not isinstance(entry.engine, _ENGINE_OF_ROUTE[route]):
            task = entry.engine.opened.bundle.manifest.task
            other = "/generate" if task == "generation" else "/predict"
            raise InvalidInput(f"{name} does {task}: send it to {other}", ("model",))
        return entry.engine

    def versions(self, name: str) -> list[BundleEntry]:
        """Every version of a model, the highest last. Raises UnknownModel."""
        found = self._versions.get(name)
        if not found:
            available = sorted(self._versions)
            raise UnknownModel(f"there is no model {name!r}; there are: {', '.join(available) or 'none'}", available)
        return found

    def entry(self, name: str, version: str | None = None) -> BundleEntry:
        """A version of a model, by default the one that answers: the highest that did not fail while others answered.

        Raises:
            UnknownModel: there is no such model or version.
        """
        versions = self.versions(name)
        if version is None:
            return next((entry for entry in reversed(versions) if entry.is_required), versions[-1])
        found = [entry for entry in versions if entry.version == version]
        if not found:
            available = [f"{name} {entry.version}" for entry in versions]
            raise UnknownModel(f"{name} has no version {version!r}; there are: {', '.join(available)}", available)
        return found[0]

    def announce_stop(self) -> None:
        """Be no longer ready, so that nobody sends new requests here; those that come are answered all the same."""
        self._is_leaving = True

    async def close(self, drain_timeout_s: float) -> None:
        """Refuse new requests, give the waiting ones up to `drain_timeout_s` seconds, stop."""
        self._is_draining = True
        for closing in self._retiring.values():
            closing.cancel()
        engines = [*self._retiring, *(entry.engine for entry in self.entries if entry.engine is not None)]
        left = await _drain(engines, drain_timeout_s)
        if left:
            logger.warning("stopped with work left", extra={"waiting": left})
        for engine in engines:
            await engine.close()
        if self._lanes is not None:
            self._lanes.close()
        self._text_pool.shutdown(wait=False)

    def _look(self) -> tuple[dict[Path, Fingerprint], str]:
        """What is in the folder, or why there is nothing."""
        try:
            found = look_into(self._models_dir)
        except (BundleError, OSError) as error:
            return {}, str(error)
        return found, "" if found else f"there are no bundles in {self._models_dir}"

    def _arrange(self, entries: list[BundleEntry]) -> None:
        versions: dict[str, list[BundleEntry]] = {}
        for entry in sorted(entries, key=lambda entry: entry.order):
            versions.setdefault(entry.name, []).append(entry)
        self.entries, self._versions = entries, versions

    async def _open_all(self, entries: Sequence[BundleEntry]) -> None:
        """Bring entries from loading to ready or failed."""
        assert self._lanes is not None, "the lanes are there before the first bundle"
        room = asyncio.Semaphore(self._lanes.num_lanes)

        async def open_one(entry: BundleEntry) -> None:
            async with room:
                await self._open(entry)

        await asyncio.gather(*map(open_one, entries))

    async def _open(self, entry: BundleEntry) -> None:
        assert self._context is not None, "the context is there before the first bundle"
        try:
            opened = await asyncio.to_thread(open_and_check, entry.path, self._options)
        except Exception as error:  # whatever is wrong with one bundle, the others still load
            entry.state, entry.reason = "failed", str(error) or type(error).__name__
            logger.error(
                "bundle failed",
                extra={"model": entry.name, "version": entry.version, "reason": entry.reason},
                exc_info=None if isinstance(error, BundleError) else error,
            )
            return
        self._forget_metrics(entry)  # of what answered so far under this name and version
        entry.engine, entry.state, entry.is_required = start_engine(opened, self._context), "ready", True
        self._describe(entry, opened)

    async def _take_over(self, found: dict[Path, Fingerprint], retry: bool) -> ReloadOutcome:
        known = {entry.path: entry for entry in self.entries}
        candidates = [
            BundleEntry(path, fingerprint, is_required=False)
            for path, fingerprint in found.items()
            if path not in known or known[path].fingerprint != fingerprint or (retry and known[path].state == "failed")
        ]
        gone = [entry for path, entry in known.items() if path not in found]
        await self._open_all(candidates)
        for candidate in candidates:
            known[candidate.path] = self._settle(known.get(candidate.path), candidate)
        for entry in gone:
            self._let_go(known.pop(entry.path))
        self._arrange([known[path] for path in found])
        self._problem = ""
        if any(candidate.state == "failed" for candidate in candidates):
            return "failed"
        if candidates or gone:
            self._metrics.last_reload_time.set(time.time())
            return "ok"
        return "unchanged"

    def _settle(self, before: BundleEntry | None, candidate: BundleEntry) -> BundleEntry:
        """Which of the two stays: the new one unless it failed where another answers."""
        if candidate.state == "failed" and before is not None and before.state == "ready":
            before.fingerprint = candidate.fingerprint
            before.reason = f"its changed files were refused: {candidate.reason}"
            return before
        if before is not None and before.engine is not None:
            self._retire(before.engine)
        if candidate.state == "failed":
            self._metrics.parity_passed.labels(candidate.name, candidate.version).set(0)
            candidate.is_required = before is not None and before.is_required
        return candidate

    def _refuse(self, problem: str) -> ReloadOutcome:
        """What answers goes on to answer, though its folder cannot be read, or is empty all of a sudden."""
        logger.error("the models folder was not taken over", extra={"reason": problem})
        return "failed"

    def _let_go(self, entry: BundleEntry) -> None:
        logger.info("bundle gone", extra={"model": entry.name, "version": entry.version})
        self._forget_metrics(entry)
        if entry.engine is not None:
            self._retire(entry.engine)

    def _retire(self, engine: Engine) -> None:
        async def close_when_idle() -> None:
            await asyncio.sleep(_GRACE_S)
            await _drain([engine], None)
            await engine.close()

        def forget(_: object) -> None:
            self._retiring.pop(engine, None)

        self._retiring[engine] = asyncio.create_task(close_when_idle(), name="retire-engine")
        self._retiring[engine].add_done_callback(forget)

    def _forget_metrics(self, entry: BundleEntry) -> None:
        self._metrics.forget_bundle(entry.name, entry.version)

    def _describe(self, entry: BundleEntry, opened: OpenBundle) -> None:
        manifest, runner, metrics = opened.bundle.manifest, opened.runner, self._metrics
        metrics.expect_requests(entry.name, manifest.task)
        metrics.parity_passed.labels(entry.name, entry.version).set(1)
        metrics.bundle_info.labels(entry.name, entry.version, manifest.task, opened.bundle.digest[:12]).set(1)
        metrics.execution_provider_info.labels(entry.name, entry.version, runner.provider, runner.precision).set(1)
        metrics.device_fallback.labels(entry.name, entry.version).set(bool(runner.fallback_reason))
        described = {"task": manifest.task, "provider": runner.provider, "precision": runner.precision}
        logger.info("bundle ready", extra={"model": entry.name, "version": entry.version, **described})

    def _only_candidate(self, route: Route) -> str:
        if any(entry.state == "loading" for entry in self.entries):
            raise NotReady("the service is not ready", self.reasons(), "loading")
        names = sorted({entry.name for entry in self.entries if _may_answer(entry, route)})
        if len(names) != 1:
            raise InvalidInput(f"say which model; for this route there are: {', '.join(names) or 'none'}", ("model",))
        return names[0]


def open_and_check(path: Path, options: EngineOptions) -> OpenBundle:
    """Load a bundle, open its graphs and let it answer its examples. Raises BundleError."""
    num_lanes = options.num_lanes or default_lanes(options.device)
    opened = open_bundle(path, options.device, precision=options.precision, num_lanes=num_lanes)
    manifest = opened.bundle.manifest
    if (manifest.name, manifest.version) != (path.parent.name, path.name):
        raise BundleCorrupt(path, f"its manifest says {manifest.name}/{manifest.version}: move it there")
    self_check(opened)
    logger.debug("bundle checked", extra={"identity": opened.identity})  # found out now, from the files that were read
    return opened


async def _drain(engines: Iterable[Engine], timeout_s: float | None) -> int:
    """Wait until nothing is left to answer, `None` for as long as that takes; how much is left."""
    engines = list(engines)
    try:
        async with asyncio.timeout(timeout_s):
            while any(engine.num_pending for engine in engines):  # noqa: ASYNC110 - rare, and there is no event for it
                await asyncio.sleep(_DRAIN_POLL_S)
    except TimeoutError:
        pass
    return sum(engine.num_pending for engine in engines)


def _may_answer(entry: BundleEntry, route: Route) -> bool:
    return entry.engine is not None and isinstance(entry.engine, _ENGINE_OF_ROUTE[route])
