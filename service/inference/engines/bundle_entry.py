"""Entries of the catalogue, and the folder they come from, with the fingerprints that detect changed files."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from service.bundle.load import named_task
from service.bundle.manifest import Manifest
from service.bundle.models_folder import Stray, list_models_folder, printable
from service.bundle.rollout_file import change_rollout, read_rollout
from service.bundle.task_options import TaskName
from service.errors import BundleError, NotReadyCause, UnknownModel
from service.inference.engines.engine import Engine
from service.inference.rollout.model_rollout import Found
from service.tasks.catalogue import route_of
from service.tasks.core.task import Route

logger = logging.getLogger(__name__)

#: Folders that are no bundles and are named in the log, each once. The others are counted.
_MAX_NAMED_STRAYS = 20

#: Name, size and modification time of every file. If it differs, the folder has changed.
Fingerprint = tuple[tuple[str, int, int], ...]


BundleState = Literal["loading", "ready", "idle", "failed", "unloaded"]


@dataclass(eq=False)
class BundleEntry:
    """One bundle folder.

    Attributes:
        fingerprint: of the files that were loaded, or refused last.
        reason: why the bundle failed; if it is ready, why newer files in its folder were refused.
        state: `idle` if it is opened for its first request, as memory is limited; `unloaded` if an operator asked for
            that: its folder is there, and nothing of it is in memory.
        is_required: whether the readiness of the service depends on it. False where the policy does not ask for it,
            for a bundle that was added while the service was running and failed, and for one that is unloaded or idle.
        replaces_open: whether it takes the place of an open bundle, and so is opened at once.
        memory_bytes: what it takes while it is open, where memory is limited.
        refused_task: the task that the manifest of a bundle names which failed; None where it cannot be read.
    """

    path: Path
    fingerprint: Fingerprint = ()
    state: BundleState = "loading"
    reason: str = ""
    engine: Engine | None = None
    is_required: bool = True
    idle_manifest: Manifest | None = None
    memory_bytes: int = 0
    replaces_open: bool = False
    refused_task: TaskName | None = None

    @cached_property
    def name(self) -> str:
        return self.path.parent.name

    @cached_property
    def version(self) -> str:
        return self.path.name

    @property
    def obstacle(self) -> str:
        """Why the bundle does not answer, as a sentence; "" if it does."""
        if self.state == "ready" and self.engine is not None and self.engine.is_alive:
            return ""
        where = f"{self.name} version {self.version}"
        if self.state == "loading":
            return f"{where} is still loading"
        if self.state == "failed":
            return f"{where} failed: {self.reason}"
        if self.state == "unloaded":
            return f"{where} is unloaded"
        if self.state == "idle":
            return ""
        return f"{where} has stopped answering"

    @property
    def cause(self) -> NotReadyCause:
        """The reason as one word, for programs."""
        causes: dict[str, NotReadyCause] = {"loading": "loading", "failed": "failed_bundle", "unloaded": "unloaded"}
        return causes.get(self.state, "stopped")

    @property
    def has_failed(self) -> bool:
        """Whether its files were refused, if not at the first time then since."""
        return self.state == "failed" or (self.state == "ready" and bool(self.reason))

    @property
    def is_faulty(self) -> bool:
        """Whether to open it again would help, as it does not answer from what was in its folder last."""
        return self.has_failed or self.state in ("unloaded", "idle") or bool(self.obstacle)

    @property
    def may_be_default(self) -> bool:
        """Whether it answers requests that name no version, if it is the highest that may.

        A required one that failed does, with 503: an older version must not answer unnoticed in its place.
        """
        return self.state != "unloaded" and (self.is_required or self.state != "failed")

    @property
    def manifest(self) -> Manifest | None:
        """The manifest, also while the bundle is idle; None where none was read."""
        return self.engine.opened.bundle.manifest if self.engine is not None else self.idle_manifest

    @property
    def task(self) -> TaskName | None:
        """What it does, or would do if it had not failed; None where that is not known."""
        manifest = self.manifest
        return self.refused_task if manifest is None else manifest.task

    def fail(self, reason: str) -> None:
        """It cannot be used. Takes as long as the disk does: what it would have done is looked up."""
        self.state, self.reason, self.refused_task = "failed", reason, named_task(self.path)

    def answers(self, route: Route) -> bool:
        """Whether its task is one of this route, as far as it is known: that of a bundle which is idle, too."""
        manifest = self.manifest
        return manifest is not None and route_of(manifest.task) == route

    def idle(self, manifest: Manifest) -> None:
        """Keep nothing of the bundle but its manifest, until it is asked for."""
        self.engine, self.idle_manifest = None, manifest
        self.state, self.reason, self.is_required = "idle", "", False

    def unload(self) -> Engine | None:
        """Keep nothing of the bundle but its place. Returns the engine that answered, for the caller to retire."""
        engine, self.engine = self.engine, None
        self.state, self.reason, self.is_required, self.idle_manifest = "unloaded", "", False, None
        return engine

    @property
    def order(self) -> tuple[int, str]:
        """Sort key of the version: by number, with versions that are not numbers first."""
        version = self.version
        return (int(version), "") if version.isascii() and version.isdigit() else (-1, version)


@dataclass(frozen=True)
class Scan:
    """What the models folder holds at one moment.

    Attributes:
        found: every bundle folder, in order, with its fingerprint.
        unreadable: folders of models that could not be listed: what is known of them still holds.
        problem: why the folder gave no bundles; "" if it did.
        rollouts: of each model with a bundle, what its rollout file says, or why it cannot be used.
    """

    found: Mapping[Path, Fingerprint]
    unreadable: frozenset[Path] = frozenset()
    problem: str = ""
    rollouts: Mapping[str, Found] = field(default_factory=dict)

    def named(self, name: str, version: str | None) -> list[Path]:
        """The bundles of a model, or the one of a version. Raises UnknownModel with those that there are."""
        versions = [path for path in self.found if path.parent.name == name]
        if not versions:
            names = sorted({path.parent.name for path in self.found})
            there = self.problem or f"there are: {', '.join(names)}"
            raise UnknownModel(f"there is no model {name!r} in the models folder; {there}", names)
        wanted = [path for path in versions if version in (None, path.name)]
        if not wanted:
            numbers = [path.name for path in versions]
            raise UnknownModel(f"{name} has no version {version!r}; there are: {', '.join(numbers)}", numbers)
        return wanted

    def gone(self, known: Iterable[Path]) -> list[Path]:
        """Known bundles that are there no longer. Of a folder that cannot be listed right now that is not known."""
        return [path for path in known if path not in self.found and path.parent not in self.unreadable]


class WatchedFolder:
    """The models folder. Folders in it that are no bundles are logged when they are first seen.

    Attributes:
        link_roots: where links from bundles may lead: into the folder itself, and to the given places.
    """

    def __init__(self, models_dir: Path, link_roots: Sequence[Path] = ()) -> None:
        self._models_dir = models_dir
        self.link_roots = (models_dir, *link_roots)
        self._known_strays: frozenset[Stray] = frozenset()

    def scan(self) -> Scan:
        """Look at the folder. Takes as long as the disk does; never raises."""
        try:
            listed = list_models_folder(self._models_dir)
        except BundleError as error:
            return Scan({}, problem=str(error))
        self._report(listed.strays)
        found = {path: fingerprint_of(path) for path in listed.bundles}
        problem = "" if found else f"there are no bundles in {self._models_dir}"
        models = {path.parent for path in found}
        return Scan(found, listed.unreadable, problem, {model.name: _rollout_of(model) for model in models})

    def change_rollout(self, name: str, changes: Mapping[str, Any], there: Collection[str]) -> None:
        """Change the rollout file of a model, whose versions are `there`. See `rollout_file.change_rollout`."""
        change_rollout(self._models_dir / name, changes, there)

    def _report(self, strays: Sequence[Stray]) -> None:
        new = [stray for stray in strays if stray not in self._known_strays]
        for stray in new[:_MAX_NAMED_STRAYS]:
            level = logging.INFO if stray.is_hidden else logging.WARNING
            logger.log(
                level, "ignored in the models folder", extra={"path": printable(stray.path), "reason": stray.reason}
            )
        if len(new) > _MAX_NAMED_STRAYS:
            logger.warning("ignored more in the models folder", extra={"count": len(new) - _MAX_NAMED_STRAYS})
        self._known_strays = frozenset(strays)


def _rollout_of(model: Path) -> Found:
    try:
        return read_rollout(model)
    except BundleError as error:
        return str(error)


def fingerprint_of(path: Path) -> Fingerprint:
    """The fingerprint of a bundle folder. What cannot be read is part of it, and is reported when it is opened."""
    try:
        with os.scandir(path) as files:
            return tuple(sorted(state for file in files for state in _states(file)))
    except OSError as error:
        return (("", -1, error.errno or 0),)


def _states(file: os.DirEntry[str]) -> Iterator[tuple[str, int, int]]:
    try:
        state = file.stat()
    except OSError as error:  # such as a link to nothing
        yield file.name, -1, error.errno or 0
    else:
        if stat.S_ISREG(state.st_mode):
            yield file.name, state.st_size, state.st_mtime_ns
