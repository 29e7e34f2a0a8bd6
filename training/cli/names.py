"""Runs and bundles by name or by path, wherever a command takes one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

from service.bundle.load import MANIFEST_FILE
from service.errors import UnrollError

_CONFIG_FILE = "config.toml"


def run_at(name_or_path: Path, runs: Path) -> Path:
    """The run folder of a path, or of a name under `runs`.

    Raises:
        UnrollError: there is none; names the nearest run.
    """
    for path in (name_or_path, runs / name_or_path):
        if (path / _CONFIG_FILE).is_file():
            return path
    found = name_or_path if name_or_path.exists() else runs / name_or_path
    if found.is_dir():
        raise UnrollError(f"{found} is not a run folder: it has no {_CONFIG_FILE}")
    known = [path.parent.name for path in _under(runs, f"*/{_CONFIG_FILE}")]
    raise UnrollError(_missing("run", name_or_path, runs, known, "--runs"))


def bundle_at(name_or_path: Path, models: Path) -> Path:
    """The bundle of a path, or of NAME or NAME/VERSION under `models`; of a NAME the highest version.

    Raises:
        UnrollError: there is none; names the nearest model.
    """
    for path in (name_or_path, models / name_or_path):
        if (path / MANIFEST_FILE).is_file():
            return path
        versions = [
            entry for entry in _under(path, "*") if entry.name.isdecimal() and (entry / MANIFEST_FILE).is_file()
        ]
        if versions:
            return max(versions, key=lambda entry: int(entry.name))
    if name_or_path.is_dir():
        raise UnrollError(f"{name_or_path} is not a bundle: it has no {MANIFEST_FILE}; a bundle is models/NAME/VERSION")
    known = {path.parents[1].name for path in _under(models, f"*/*/{MANIFEST_FILE}")}
    raise UnrollError(_missing("model", name_or_path, models, known, "--models"))


def _under(folder: Path, pattern: str) -> list[Path]:
    """What matches in a folder; nothing where it is missing or cannot be read."""
    try:
        return sorted(folder.glob(pattern)) if folder.is_dir() else []
    except OSError:
        return []


def _missing(kind: str, asked: Path, folder: Path, known: Iterable[str], option: str) -> str:
    close = difflib.get_close_matches(asked.name, sorted(known), n=1)
    hint = f"; did you mean {close[0]}?" if close else ";"
    return f"no {kind} {str(asked)!r}, neither as a path nor in {folder}{hint} {option} names another folder"
