"""The registry: one front for the catalogue of bundles, their loader and the health of the service."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from service.inference.engines.bundle_entry import BundleEntry, WatchedFolder
from service.inference.engines.catalogue import Catalogue
from service.inference.engines.engine import Engine
from service.inference.engines.engine_context import EngineOptions
from service.inference.engines.health import Health, ReadinessPolicy
from service.inference.engines.loader import BundleLoader, ReloadOutcome
from service.observability.metrics import Metrics
from service.tasks.core.task import Route


class Registry:
    """What routes and background tasks use: find an engine, list models, ask for health, load, reload and close."""

    def __init__(
        self,
        models_dir: Path,
        options: EngineOptions,
        metrics: Metrics,
        policy: ReadinessPolicy | None = None,
        link_roots: Sequence[Path] = (),
        default_models: Sequence[str] = (),
    ) -> None:
        """`link_roots` are folders besides `models_dir` that links in it may lead to; `default_models` are for requests
        that name no model, the first choice first."""
        policy = policy or ReadinessPolicy()
        self._catalogue = Catalogue(default_models)
        self._health = Health(self._catalogue, policy)
        folder = WatchedFolder(models_dir, link_roots)
        self._loader = BundleLoader(folder, options, metrics, self._catalogue, policy)

    @property
    def entries(self) -> list[BundleEntry]:
        """Every bundle, in the order of the folder."""
        return self._catalogue.entries

    def versions(self, name: str) -> list[BundleEntry]:
        """Every version of a model, the highest last. Raises UnknownModel."""
        return self._catalogue.versions(name)

    def entry(self, name: str, version: str | None = None) -> BundleEntry:
        """A version of a model, by default the one that answers. Raises UnknownModel."""
        return self._catalogue.entry(name, version)

    def find(self, route: Route, name: str | None, version: str | None) -> Engine:
        """The engine that answers: by default the highest version; of the default models, or the only model.

        Raises:
            UnknownModel: there is no such model or version.
            InvalidInput: no model was named and there is a choice, or the model has another task.
            NotReady: the service is loading or draining, or the bundle is not ready.
        """
        self._health.require_serving()
        if not name and self._catalogue.is_loading:
            raise self._health.not_ready("loading")
        return self._catalogue.engine(route, name, version)

    def reasons(self) -> list[str]:
        """Why the service is not ready, one sentence each; empty when it is."""
        return self._health.reasons()

    def standstill(self, max_run_s: float) -> str:
        """Why the process cannot recover without a restart; "" while it can. See `Health.standstill`."""
        return self._health.standstill(self._loader.lanes, max_run_s)

    async def load(self) -> None:
        """Open, check and start every bundle; failures are recorded, not raised."""
        await self._loader.load()

    async def reload(self, retry: bool = True) -> ReloadOutcome:
        """Take over what changed in the models folder. See `BundleLoader.reload`."""
        return await self._loader.reload(retry)

    async def retired(self) -> None:
        """Wait until every engine that was replaced has answered its last request and is closed."""
        await self._loader.retired.closed()

    def announce_stop(self) -> None:
        """Report not ready from now on; requests that come are answered all the same."""
        self._health.announce_stop()

    async def close(self, drain_timeout_s: float) -> None:
        """Refuse new requests, give the waiting ones up to `drain_timeout_s` seconds, stop."""
        self._health.start_draining()
        await self._loader.close(drain_timeout_s)
