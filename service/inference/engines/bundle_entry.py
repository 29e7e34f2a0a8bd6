"""Entries of the catalogue: a bundle folder, its loading state, and the fingerprint that detects changed files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from service.bundle.load import find_bundles
from service.errors import NotReadyCause
from service.inference.engines.engine import Engine

#: Name, size and modification time of every file. If it differs, the folder has changed.
Fingerprint = tuple[tuple[str, int, int], ...]


@dataclass(eq=False)
class BundleEntry:
    """One bundle folder.

    Attributes:
        fingerprint: of the files that were loaded, or refused last.
        reason: why the bundle failed; if it is ready, why newer files in its folder were refused.
        is_required: whether the readiness of the service depends on it. False for a bundle that was added while the
            service was running and failed.
    """

    path: Path
    fingerprint: Fingerprint = ()
    state: Literal["loading", "ready", "failed"] = "loading"
    reason: str = ""
    engine: Engine | None = None
    is_required: bool = True

    @property
    def name(self) -> str:
        return self.path.parent.name

    @property
    def version(self) -> str:
        return self.path.name

    @property
    def obstacle(self) -> str:
        """Why the bundle does not answer, as a sentence; "" if it does."""
        where = f"{self.name} version {self.version}"
        if self.state == "loading":
            return f"{where} is still loading"
        if self.state == "failed":
            return f"{where} failed: {self.reason}"
        return "" if self.engine and self.engine.is_alive else f"{where} has stopped answering"

    @property
    def cause(self) -> NotReadyCause:
        """The reason as one word, for programs."""
        causes: dict[str, NotReadyCause] = {"loading": "loading", "failed": "failed_bundle"}
        return causes.get(self.state, "stopped")

    @property
    def order(self) -> tuple[int, str]:
        """Sort key of the version: by number, with versions that are not numbers first."""
        version = self.version
        return (int(version), "") if version.isascii() and version.isdigit() else (-1, version)


def scan_models_dir(models_dir: Path) -> dict[Path, Fingerprint]:
    """Every bundle folder with its fingerprint. Raises BundleIncomplete if the folder is absent, OSError."""
    return {path: _fingerprint(path) for path in find_bundles(models_dir)}


def _fingerprint(path: Path) -> Fingerprint:
    states = [(file.name, file.stat()) for file in sorted(path.iterdir()) if file.is_file()]
    return tuple((name, state.st_size, state.st_mtime_ns) for name, state in states)
