"""The catalogue of bundles: which versions of which models there are, and which of them answers a request."""

from __future__ import annotations

from collections.abc import Sequence

from service.errors import InvalidInput, NotReady, UnknownModel
from service.inference.engines.bundle_entry import BundleEntry
from service.inference.engines.engine import Engine
from service.tasks.core.task import Route


class Catalogue:
    """The bundles of a service by name and version. It opens and closes nothing.

    Attributes:
        entries: every bundle, in the order of its folder.
        is_listed: whether the models folder was read at all.
        problem: why the folder gave no bundles; "" if it did.
    """

    def __init__(self, default_models: Sequence[str] = ()) -> None:
        """`default_models` are names for requests that have none, the first choice first."""
        self._default_models = tuple(default_models)
        self.entries: list[BundleEntry] = []
        self.is_listed = False
        self.problem = ""
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

    def entry(self, name: str, version: str | None = None) -> BundleEntry:
        """A version of a model; by default the highest, but for those that failed and are not required.

        Raises:
            UnknownModel: there is no such model or version.
        """
        versions = self.versions(name)
        if version is None:
            return next((entry for entry in reversed(versions) if entry.may_be_default), versions[-1])
        found = [entry for entry in versions if entry.version == version]
        if not found:
            available = [f"{name} {entry.version}" for entry in versions]
            raise UnknownModel(f"{name} has no version {version!r}; there are: {', '.join(available)}", available)
        return found[0]

    def engine(self, route: Route, name: str | None, version: str | None) -> Engine:
        """The engine that answers on a route; without a name that of a default model, or of the only model which can.

        Raises:
            UnknownModel: there is no such model or version.
            InvalidInput: no model was named and there is a choice, or the model has another task.
            NotReady: the bundle is still loading, failed, or its engine has stopped.
        """
        name = name or self._model_without_name(route)
        entry = self.entry(name, version)
        if entry.engine is None or not entry.engine.is_alive:
            raise NotReady(f"{name} version {entry.version} is not ready", [entry.obstacle], entry.cause)
        if not _answers(entry, route):
            task = entry.engine.opened.bundle.manifest.task
            raise InvalidInput(f"{name} does {task}: send it to /{entry.engine.task.route}", ("model",))
        return entry.engine

    def _model_without_name(self, route: Route) -> str:
        """The first default model that can answer on a route, or the only model.

        Where no default model answers and one has failed, that is the one which is not ready: a model that is no
        default must not take its place because of a fault.
        """
        names = sorted({entry.name for entry in self.entries if _answers(entry, route)})
        unknown = {entry.name for entry in self.entries if entry.engine is None} - {*names}
        defaults = [name for name in self._default_models if name in names or name in unknown]
        if answering := [name for name in defaults if name in names] or defaults:
            return answering[0]
        if len(names) != 1:
            raise InvalidInput(self._say_which(names), ("model",))
        return names[0]

    def _say_which(self, names: Sequence[str]) -> str:
        absent = [name for name in self._default_models if name not in self._versions]
        there = f"say which model; for this route there are: {', '.join(names) or 'none'}"
        return f"{there}. UNROLL_DEFAULT_MODELS names {', '.join(absent)}, which is not here" if absent else there


def _answers(entry: BundleEntry, route: Route) -> bool:
    return entry.engine is not None and entry.engine.task.route == route
