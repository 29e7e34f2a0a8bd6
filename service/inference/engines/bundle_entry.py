"""One bundle folder of the service, how far it has come, and what of the folder is looked at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from service.bundle.load import Bundle, find_bundles
from service.errors import NotReadyCause
from service.inference.engines.engine import Engine

#: Name, size and time of change of every file: what tells whether a folder is still what it was.
Fingerprint = tuple[tuple[str, int, int], ...]


@dataclass(eq=False)
class BundleEntry:
    """One bundle folder.

    Attributes:
        fingerprint: of the files that were read, or that were refused last.
        reason: why a failed one failed; of a ready one, why its folder's newer content was refused.
        is_required: whether the service's readiness depends on it. Not so for what came while the service was running
            and failed: it takes nothing away from what answers.
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
    def bundle(self) -> Bundle | None:
        return self.engine.opened.bundle if self.engine else None

    @property
    def obstacle(self) -> str:
        """Why it does not answer, as a sentence; "" if it does."""
        where = f"{self.name} version {self.version}"
        if self.state == "loading":
            return f"{where} is still loading"
        if self.state == "failed":
            return f"{where} failed: {self.reason}"
        return "" if self.engine and self.engine.is_alive else f"{where} has stopped answering"

    @property
    def cause(self) -> NotReadyCause:
        """The same in a word."""
        causes: dict[str, NotReadyCause] = {"loading": "loading", "failed": "failed_bundle"}
        return causes.get(self.state, "stopped")

    @property
    def order(self) -> tuple[int, str]:
        """Versions are numbers; what is none comes before them."""
        version = self.version
        return (int(version), "") if version.isascii() and version.isdigit() else (-1, version)


def look_into(models_dir: Path) -> dict[Path, Fingerprint]:
    """Every bundle folder with its fingerprint. Raises BundleIncomplete if the folder is absent, OSError."""
    return {path: _fingerprint(path) for path in find_bundles(models_dir)}


def _fingerprint(path: Path) -> Fingerprint:
    states = [(file.name, file.stat()) for file in sorted(path.iterdir()) if file.is_file()]
    return tuple((name, state.st_size, state.st_mtime_ns) for name, state in states)
