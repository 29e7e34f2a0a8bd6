"""The catalogue of bundles: which versions of which models there are, and which of them answers a request."""

from __future__ import annotations

from collections.abc import Sequence

from service.errors import InvalidInput, NotReady, UnknownModel
from service.inference.engines.bundle_entry import BundleEntry
from service.inference.engines.engine import Engine
from service.inference.rollout.model_rollout import ModelRollout
from service.tasks.catalogue import route_of
from service.tasks.core.task import Route


class IdleModel(Exception):
    """The bundle that should answer must be opened first."""

    def __init__(self, entry: BundleEntry) -> None:
        super().__init__(f"{entry.name} version {entry.version} is idle")
        self.entry = entry


class Catalogue:
    """The bundles of a service by name and version. It opens and closes nothing.

    Attributes:
        entries: every bundle, in the order of its folder.
        is_listed: whether the models folder was read at all.
        problem: why the folder gave no bundles; "" if it did.
        rollouts: of every model: aliases of its versions, and how requests without a version are split.
    """

    def __init__(self, default_models: Sequence[str] = ()) -> None:
        """`default_models` are names for requests that have none, the first choice first."""
        self._default_models = tuple(default_models)
        self.entries: list[BundleEntry] = []
        self.is_listed = False
        self.problem = ""
        self.rollouts: dict[str, ModelRollout] = {}
        self._versions: dict[str, list[BundleEntry]] = {}

    @property
    def is_loading(self) -> bool:
        """Whether a bundle is still being opened."""
        return any(entry.state == "loading" for entry in self.entries)

    def replace(self, entries: Sequence[BundleEntry], problem: str = "") -> None:
        """List these bundles from now on, instead of those listed before."""
        versions: dict[str, list[BundleEntry]] = {}
        for entry in sorted(entries, key=lambda entry: entry.order):
            versions.setdefault(entry.name, []).append(entry)
        self.entries, self._versions = list(entries), versions
        self.is_listed, self.problem = True, problem

    def versions(self, name: str) -> list[BundleEntry]:
        """Every version of a model, the highest last. Raises UnknownModel."""
        found = self._versions.get(name)
        if not found:
            available = sorted(self._versions)
            raise UnknownModel(f"there is no model {name!r}; there are: {', '.join(available) or 'none'}", available)
        return found

    def rollout(self, name: str) -> ModelRollout:
        """Aliases and traffic of a model; empty ones where it has no rollout file."""
        return self.rollouts.get(name) or ModelRollout(name)

    def entry(self, name: str, version: str | None = None) -> BundleEntry:
        """A version of a model, also by an alias; by default the one that answers most requests without a version.

        Raises:
            UnknownModel: there is no such model, version or alias.
        """
        versions = self.versions(name)
        if version is not None:
            return self._named(name, versions, version)
        shares = self.rollout(name).shares
        if shares:
            version = max(shares, key=lambda one: (self._is_usable(name, one), shares[one]))
            return self._named(name, versions, version)
        return _highest(versions)

    def choose(self, name: str, affinity: str) -> BundleEntry:
        """The version that answers a request without one: by the weights of the model's traffic, or the highest.

        A version that does not answer gets nothing as long as another one of the split does.

        Raises:
            UnknownModel: there is no such model, or the version that is chosen.
            NotReady: nobody knows which version should answer, as its rollout file was never readable.
        """
        versions, rollout = self.versions(name), self.rollouts.get(name)
        if rollout is None or rollout.is_plain:
            return _highest(versions)
        if not rollout.is_known:
            reason = f"{name}: which version should answer is not known: {rollout.problem}"
            raise NotReady(f"{name} is not ready: name a version", [reason], "failed_bundle")
        assert rollout.split is not None, "it is not plain"
        version_of = rollout.rollout.version_of
        target = rollout.split.choose(affinity, lambda target: self._is_usable(name, version_of(target)))
        return self._named(name, versions, version_of(target))

    def _named(self, name: str, versions: Sequence[BundleEntry], version: str) -> BundleEntry:
        """The entry of a version or an alias. Raises UnknownModel with those that there are."""
        aliases = self.rollout(name).rollout.aliases
        wanted = aliases.get(version, version)
        for entry in versions:
            if entry.version == wanted:
                return entry
        available = [f"{name} {known}" for known in (*(entry.version for entry in versions), *sorted(aliases))]
        meant = f"{version!r}, which is version {wanted}," if version in aliases else f"version {version!r}"
        raise UnknownModel(f"{name} has no {meant.rstrip(',')}; there are: {', '.join(available)}", available)

    def _is_usable(self, name: str, version: str) -> bool:
        return any(entry.version == version and not entry.obstacle for entry in self._versions[name])

    def engine(self, route: Route, name: str | None, version: str | None, affinity: str = "") -> Engine:
        """The engine that answers on a route; without a name that of a default model, or of the only model which can.

        `version` may be an alias. Requests of the same affinity key that name none get the same version.

        Raises:
            UnknownModel: there is no such model or version.
            InvalidInput: no model was named and there is a choice, or the model has another task.
            IdleModel: the bundle must be opened first.
            NotReady: the bundle is still loading, failed, or its engine has stopped.
        """
        name = name or self._model_without_name(route)
        entry = self.choose(name, affinity) if version is None else self.entry(name, version)
        engine = entry.engine
        if engine is not None and engine.is_alive and engine.task.route == route:
            return engine
        raise self._obstacle(entry, route)

    def _obstacle(self, entry: BundleEntry, route: Route) -> Exception:
        """Why an entry does not answer on a route."""
        is_alive = entry.engine is not None and entry.engine.is_alive
        if entry.state != "idle" and not is_alive:
            return NotReady(f"{entry.name} version {entry.version} is not ready", [entry.obstacle], entry.cause)
        if not entry.answers(route):
            task, other = entry.manifest and entry.manifest.task, "generate" if route == "predict" else "predict"
            return InvalidInput(f"{entry.name} does {task}: send it to /{other}", ("model",))
        return IdleModel(entry)

    def _model_without_name(self, route: Route) -> str:
        """The first default model that can answer on a route, or the only model.

        Where no default model answers and one has failed, that is the one which is not ready: a model that is no
        default must not take its place because of a fault.
        """
        names = sorted({entry.name for entry in self.entries if entry.answers(route)})
        unknown = {entry.name for entry in self.entries if entry.engine is None} - {*names}
        defaults = [name for name in self._default_models if name in names or name in unknown]
        if answering := [name for name in defaults if name in names] or defaults:
            return answering[0]
        if not names and (failed := [entry for entry in self.entries if _may_answer(entry, route)]):
            raise NotReady("no model for this route is ready", [entry.obstacle for entry in failed], failed[0].cause)
        if len(names) != 1:
            raise InvalidInput(self._say_which(names), ("model",))
        return names[0]

    def _say_which(self, names: Sequence[str]) -> str:
        absent = [name for name in self._default_models if name not in self._versions]
        there = f"say which model; for this route there are: {', '.join(names) or 'none'}"
        return f"{there}. UNROLL_DEFAULT_MODELS names {', '.join(absent)}, which is not here" if absent else there


def _may_answer(entry: BundleEntry, route: Route) -> bool:
    """Whether a bundle that does not answer would do so on a route, as far as that is known."""
    return bool(entry.obstacle) and (entry.task is None or route_of(entry.task) == route)


def _highest(versions: Sequence[BundleEntry]) -> BundleEntry:
    """The highest version, but for those that failed and are not required, or are unloaded."""
    highest = versions[-1]
    if highest.may_be_default:
        return highest
    return next((entry for entry in reversed(versions) if entry.may_be_default), highest)
