"""The registry: one front for the catalogue of bundles, their loader and the health of the service."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from itertools import chain
from pathlib import Path
from typing import Any

from service.inference.engines.bundle_entry import BundleEntry, WatchedFolder
from service.inference.engines.catalogue import Catalogue, IdleModel
from service.inference.engines.engine import Engine
from service.inference.engines.engine_context import EngineOptions
from service.inference.engines.health import Health, ReadinessPolicy
from service.inference.engines.lifecycle.inherited import NONE_INHERITED, InheritedBundles
from service.inference.engines.lifecycle.peers import Peers
from service.inference.engines.loader import BundleLoader, ReloadOutcome
from service.inference.rollout.model_rollout import ModelRollout
from service.inference.rollout.shadow_report import ShadowReport
from service.observability.metrics import Metrics
from service.tasks.core.task import Route

#: What one worker tells or asks the others.
COMMANDS = ("load", "unload", "take_rollouts", "reload", "shadow")


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
        peers: Peers | None = None,
        inherited: InheritedBundles = NONE_INHERITED,
    ) -> None:
        """`link_roots` are folders besides `models_dir` that links in it may lead to; `default_models` are for requests
        that name no model, the first choice first; `peers` are the other workers, if this process is one of several,
        and `inherited` the bundles that were opened before it was forked.
        """
        self._peers = peers
        policy = policy or ReadinessPolicy()
        self._catalogue = Catalogue(default_models)
        self._health = Health(self._catalogue, policy)
        folder = WatchedFolder(models_dir, link_roots)
        self._loader = BundleLoader(folder, options, metrics, self._catalogue, policy, inherited)

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

    def rollout(self, name: str) -> ModelRollout:
        """Aliases of a model's versions, and how requests that name none are split."""
        return self._catalogue.rollout(name)

    def find(self, route: Route, name: str | None, version: str | None, affinity: str = "") -> Engine:
        """The engine that answers; without a name that of a default model, or of the only model.

        `version` may be an alias. Requests without one get the version that the model's traffic weights choose, always
        the same one for the same affinity key; without weights, the highest.

        Raises:
            UnknownModel: there is no such model or version.
            InvalidInput: no model was named and there is a choice, or the model has another task.
            StillOpening: it is opened for this request, as memory is limited: wait, and ask again.
            NotReady: the service is loading or draining, or the bundle is not ready.
        """
        self._health.require_serving()
        if not name and self._catalogue.is_loading:
            raise self._health.not_ready("loading")
        try:
            return self._catalogue.engine(route, name, version, affinity)
        except IdleModel as idle:
            raise self._loader.on_demand.begin(idle.entry) from None

    def reasons(self) -> list[str]:
        """Why the service is not ready, one sentence each; empty when it is: of workers, at least half."""
        own = self._health.reasons()
        return own if self._peers is None or self._health.is_stopping else self._peers.reasons(own)

    def own_reasons(self) -> list[str]:
        """The same of this process alone, where several workers serve together."""
        return self._health.reasons()

    def missing_workers(self) -> list[str]:
        """A sentence for each worker that is not ready, whether the service is or not."""
        return [] if self._peers is None else self._peers.missing(self._health.reasons())

    def standstill(self, max_run_s: float) -> str:
        """Why the process cannot recover without a restart; "" while it can. See `Health.standstill`."""
        return self._health.standstill(self._loader.lanes, max_run_s)

    def wait_for(self, awaited: Callable[[], Sequence[str]]) -> None:
        """Be not ready, for these reasons too, while there are any: bundles that are to come into the folder."""
        self._health.awaited = awaited

    async def load(self) -> None:
        """Open, check and start every bundle; failures are recorded, not raised."""
        await self._loader.load(self._peers.kept_unloaded() if self._peers is not None else ())

    async def reload(self, retry: bool = True) -> ReloadOutcome:
        """Take over what changed in the models folder, in this process. See `BundleLoader.reload`."""
        return await self._loader.reload(retry)

    async def reload_everywhere(self) -> ReloadOutcome:
        """The same in all workers; "failed" if it did in one of them. Raises NotReady."""
        async with self._turn():
            outcomes = {await self._loader.reload(retry=True), *await self._tell("reload")}
        return "failed" if "failed" in outcomes else "ok" if "ok" in outcomes else "unchanged"

    async def load_model(self, name: str, version: str | None = None) -> None:
        """Open a model, all versions or one, and take over what changed in its folder; in all workers.

        Raises UnknownModel, BundleError, NotReady. See `BundleLoader.load_model`.
        """
        async with self._turn():
            await self._loader.load_model(name, version)
            self._keep_unloaded()
            await self._tell("load", name=name, version=version)

    async def unload_model(self, name: str, version: str | None = None) -> None:
        """Close a model, all versions or one, until it is loaded again, in all workers; requests in flight finish.

        Raises UnknownModel, NotReady. See `BundleLoader.unload_model`.
        """
        async with self._turn():
            await self._loader.unload_model(name, version)
            self._keep_unloaded()
            await self._tell("unload", name=name, version=version)

    async def change_rollout(self, name: str, changes: Mapping[str, Any]) -> None:
        """Change aliases, traffic or shadow of a model in its folder; they hold at once, in all workers.

        Raises UnknownModel, InvalidInput, BundleError, NotReady. See `BundleLoader.change_rollout`.
        """
        async with self._turn():
            await self._loader.change_rollout(name, changes)
            await self._tell("take_rollouts")

    async def carry_out(self, command: str, arguments: Mapping[str, Any]) -> Any:
        """Do what another worker tells. Raises what the command does."""
        if command == "load":
            await self._loader.load_model(**arguments)
        elif command == "unload":
            await self._loader.unload_model(**arguments)
        elif command == "take_rollouts":
            await self._loader.take_rollouts()
        elif command == "shadow":
            return self._loader.shadowing.plain_tallies(arguments["name"])
        elif command == "reload":
            return await self._loader.reload(retry=True)
        return "done"

    def _turn(self) -> AbstractAsyncContextManager[None]:
        return nullcontext() if self._peers is None else self._peers.turn()

    async def _tell(self, command: str, **arguments: Any) -> list[Any]:
        return [] if self._peers is None else await self._peers.tell(command, arguments)

    def _keep_unloaded(self) -> None:
        if self._peers is not None:
            self._peers.keep_unloaded(self._loader.unloaded)

    async def shadow_report(self, name: str) -> ShadowReport:
        """How the candidate of a model compares with the versions that answer, in all workers. Raises UnknownModel."""
        self.versions(name)
        of_others = chain.from_iterable(await self.ask_peers("shadow", name=name))
        return self._loader.shadowing.report(name, self.rollout(name), of_others)

    async def ask_peers(self, question: str, **arguments: Any) -> list[Any]:
        """The answers of the other workers that give one at once."""
        return [] if self._peers is None else await self._peers.ask(question, arguments)

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
