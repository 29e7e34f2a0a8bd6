"""The bundles of one service: what is loading, what answers, what failed and why."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from service.bundle.load import Bundle, find_bundles
from service.errors import BundleCorrupt, BundleError, InvalidInput, NotReady, UnknownModel
from service.inference.direct import OpenBundle, open_bundle
from service.inference.engine import Engine, start_engine
from service.inference.generation_engine import GenerationEngine
from service.inference.lanes import Lanes
from service.inference.ort_runner import default_lanes
from service.inference.predict_engine import PredictEngine
from service.inference.self_check import self_check
from service.inference.workshop import EngineOptions, Workshop
from service.metrics import Metrics

logger = logging.getLogger(__name__)

Route = Literal["predict", "generate"]
_ENGINE_OF_ROUTE: dict[Route, type[Engine]] = {"predict": PredictEngine, "generate": GenerationEngine}
_DRAIN_POLL_S = 0.05


@dataclass
class Entry:
    """One bundle folder and how far it has come. `reason` says why a failed one failed."""

    path: Path
    state: Literal["loading", "ready", "failed"] = "loading"
    reason: str = ""
    engine: Engine | None = None

    @property
    def name(self) -> str:
        return self.path.parent.name

    @property
    def version(self) -> str:
        return self.path.name

    @property
    def bundle(self) -> Bundle | None:
        return self.engine.opened.bundle if self.engine else None


class Registry:
    """Loads every bundle of a folder and finds the right engine for a request.

    A bundle that fails keeps the whole service from being ready, so that a roll-out stops; the healthy ones answer
    all the same, so that one bad file does not take down the rest of a running machine.
    """

    def __init__(self, models_dir: Path, options: EngineOptions, metrics: Metrics) -> None:
        self._models_dir = models_dir
        self._options = options
        self._metrics = metrics
        self._lanes: Lanes | None = None
        self._text_pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="text")
        self._is_listed = False
        self._problem = ""
        self._is_draining = False
        self.entries: list[Entry] = []
        self._versions: dict[str, list[Entry]] = {}

    async def load(self) -> None:
        """Open, check and start every bundle, one after another; failures are recorded, not raised."""
        self._lanes = Lanes(self._options.num_lanes or default_lanes(self._options.device))
        workshop = Workshop(self._lanes, self._text_pool, self._options, self._metrics)
        try:
            self.entries = [Entry(path) for path in find_bundles(self._models_dir)]
            self._problem = "" if self.entries else f"there are no bundles in {self._models_dir}"
        except (BundleError, OSError) as error:
            self._problem = str(error)
        for entry in self.entries:
            self._versions.setdefault(entry.name, []).append(entry)
        for versions in self._versions.values():
            versions.sort(key=_version_order)
        if self._problem:
            logger.error("nothing to serve", extra={"reason": self._problem})
        self._is_listed = True
        for entry in self.entries:
            await self._load_one(entry, workshop)

    def reasons(self) -> list[str]:
        """Why the service is not ready, one sentence each; empty when it is."""
        if self._is_draining:
            return ["the service is stopping"]
        if not self._is_listed:
            return ["the bundles have not been listed yet"]
        listed = [self._problem] if self._problem else []
        return listed + [reason for entry in self.entries if (reason := _obstacle(entry))]

    def find(self, route: Route, name: str | None, version: str | None) -> Engine:
        """The engine that answers: by default the highest version, and the only model if there is only one.

        Raises:
            UnknownModel: there is no such model or version.
            InvalidInput: no model was named and there is a choice, or the model does something else.
            NotReady: it is still loading, or it failed.
        """
        if self._is_draining or not self._is_listed:
            raise NotReady("the service is not ready", self.reasons())
        name = name or self._only_candidate(route)
        entry = self._entry(name, version)
        if entry.engine is None or not entry.engine.is_alive:
            raise NotReady(f"{name} version {entry.version} is not ready", [_obstacle(entry)])
        if not isinstance(entry.engine, _ENGINE_OF_ROUTE[route]):
            task = entry.engine.opened.bundle.manifest.task
            other = "/generate" if task == "generation" else "/predict"
            raise InvalidInput(f"{name} does {task}: send it to {other}", ("model",))
        return entry.engine

    def versions(self, name: str) -> list[Entry]:
        """Every version of a model, the highest last. Raises UnknownModel."""
        found = self._versions.get(name)
        if not found:
            available = sorted(self._versions)
            raise UnknownModel(f"there is no model {name!r}; there are: {', '.join(available) or 'none'}", available)
        return found

    async def close(self, drain_timeout_s: float) -> None:
        """Refuse new requests, give the waiting ones up to `drain_timeout_s` seconds, stop."""
        self._is_draining = True
        engines = [entry.engine for entry in self.entries if entry.engine is not None]
        try:
            async with asyncio.timeout(drain_timeout_s):
                while any(engine.num_pending for engine in engines):  # noqa: ASYNC110 - once, at the very end
                    await asyncio.sleep(_DRAIN_POLL_S)
        except TimeoutError:
            logger.warning("stopped with work left", extra={"waiting": sum(engine.num_pending for engine in engines)})
        for engine in engines:
            await engine.close()
        if self._lanes is not None:
            self._lanes.close()
        self._text_pool.shutdown(wait=False)

    async def _load_one(self, entry: Entry, workshop: Workshop) -> None:
        parity = self._metrics.parity_passed.labels(entry.name, entry.version)
        parity.set(0)
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
        entry.engine, entry.state = start_engine(opened, workshop), "ready"
        parity.set(1)
        self._describe(entry, opened)

    def _describe(self, entry: Entry, opened: OpenBundle) -> None:
        manifest, runner = opened.bundle.manifest, opened.runner
        self._metrics.bundle_info.labels(entry.name, entry.version, manifest.task, opened.bundle.digest[:12]).set(1)
        self._metrics.execution_provider_info.labels(entry.name, entry.version, runner.provider, runner.precision).set(
            1
        )
        self._metrics.device_fallback.labels(entry.name, entry.version).set(bool(runner.fallback_reason))
        logger.info(
            "bundle ready",
            extra={
                "model": entry.name,
                "version": entry.version,
                "task": manifest.task,
                "provider": runner.provider,
                "precision": runner.precision,
            },
        )

    def _only_candidate(self, route: Route) -> str:
        if any(entry.state == "loading" for entry in self.entries):
            raise NotReady("the service is not ready", self.reasons())
        names = sorted({entry.name for entry in self.entries if _may_answer(entry, route)})
        if len(names) != 1:
            raise InvalidInput(f"say which model; for this route there are: {', '.join(names) or 'none'}", ("model",))
        return names[0]

    def _entry(self, name: str, version: str | None) -> Entry:
        versions = self.versions(name)
        if version is None:
            return versions[-1]
        found = [entry for entry in versions if entry.version == version]
        if not found:
            available = [f"{name} {entry.version}" for entry in versions]
            raise UnknownModel(f"{name} has no version {version!r}; there are: {', '.join(available)}", available)
        return found[0]


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


def _obstacle(entry: Entry) -> str:
    where = f"{entry.name} version {entry.version}"
    if entry.state == "loading":
        return f"{where} is still loading"
    if entry.state == "failed":
        return f"{where} failed: {entry.reason}"
    return "" if entry.engine and entry.engine.is_alive else f"{where} has stopped answering"


def _may_answer(entry: Entry, route: Route) -> bool:
    return entry.engine is not None and isinstance(entry.engine, _ENGINE_OF_ROUTE[route])


def _version_order(entry: Entry) -> tuple[int, str]:
    return (int(entry.version), "") if entry.version.isascii() and entry.version.isdigit() else (-1, entry.version)
