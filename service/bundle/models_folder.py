"""Walk a models folder: which `NAME/VERSION` folders are bundles, and what lies beside them.

An entry that cannot be read, or that no bundle can be, is reported and never keeps the others from being found.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from service.bundle.load import MANIFEST_FILE, MAX_MANIFEST_BYTES
from service.bundle.manifest import NAME_PATTERN, VERSION_PATTERN
from service.errors import BundleIncomplete

#: Where `NAME/` keeps versions that were set aside by a rollback.
SET_ASIDE_FOLDER: Final = ".set-aside"
STAGING_FOLDER: Final = ".staging"

#: Folders with files, but none of these, hold something else than a bundle that was copied in part.
_SUFFIXES_OF_BUNDLES = frozenset({".onnx", ".json", ".jsonl", ".npy", ".bin"})
#: Manifests whose name and version are remembered.
_MOST_IDENTITIES = 4096
_IS_NAME, _IS_VERSION = re.compile(NAME_PATTERN).search, re.compile(VERSION_PATTERN).search


@dataclass(frozen=True)
class Stray:
    """A folder that is ignored, and why. Hidden folders are ignored by convention: that is no reason to warn."""

    path: Path
    reason: str
    is_hidden: bool = False

    def __str__(self) -> str:
        return f"{printable(self.path)}: ignored, {self.reason}"


@dataclass(frozen=True)
class ModelsFolder:
    """What a models folder holds.

    Attributes:
        bundles: `NAME/VERSION` folders by name, then by version number. Those without a manifest are among them, so
            that a half-copied bundle is reported instead of skipped.
        strays: every other folder.
        unreadable: folders of models whose versions could not be listed; they are among the strays.
    """

    bundles: tuple[Path, ...]
    strays: tuple[Stray, ...] = ()
    unreadable: frozenset[Path] = frozenset()


def list_models_folder(root: Path) -> ModelsFolder:
    """Look at every entry of `root`. Raises BundleIncomplete where `root` itself cannot be listed."""
    try:
        entries = _entries(root)
    except OSError as error:
        reason = "there is no such folder of models" if isinstance(error, FileNotFoundError) else _reason(error)
        raise BundleIncomplete(root, reason) from error
    models = [_list_model(root / entry.name, entry) for entry in entries if entry.name != STAGING_FOLDER]
    bundles = [path for model in models for path in model.bundles]
    copies = {stray.path: stray for stray in _copies(bundles)}
    strays = [stray for model in models for stray in model.strays]
    return ModelsFolder(
        tuple(sorted((path for path in bundles if path not in copies), key=_place)),
        (*strays, *copies.values()),
        frozenset().union(*(model.unreadable for model in models)),
    )


def find_bundles(root: Path) -> list[Path]:
    """The bundle folders of `root`, by name and then by version number; see `ModelsFolder`. Raises BundleIncomplete."""
    return list(list_models_folder(root).bundles)


def is_model_name(name: str) -> bool:
    """Whether a model can have this name. `$` of the pattern would let a line break at the end pass."""
    return bool(_IS_NAME(name)) and "\n" not in name


def is_version(version: str) -> bool:
    """Whether a bundle can have this version."""
    return bool(_IS_VERSION(version)) and "\n" not in version


def printable(path: Path | str) -> str:
    """A path for logs and terminals: line breaks, control characters and bytes that are no UTF-8 are escaped."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in str(path))


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """The entries of a folder by name. Raises OSError."""
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder or a link to one. Raises OSError for a link that leads nowhere: it may have been."""
    if entry.is_dir():
        return True
    if entry.is_symlink():
        entry.stat()
    return False


def _list_model(path: Path, entry: os.DirEntry[str]) -> ModelsFolder:
    """The versions in one entry of the models folder."""
    is_hidden = entry.name.startswith(".")
    try:
        if not _is_folder(entry):
            return ModelsFolder(())  # such as README.md
        if is_hidden:
            return ModelsFolder((), (Stray(path, "it is hidden", is_hidden),))
        if not is_model_name(entry.name):
            return ModelsFolder((), (Stray(path, "no model can have this name: it is a-z, 0-9 and . _ - only"),))
        children = [child for child in _entries(path) if not child.name.startswith(".")]
    except OSError as error:
        return ModelsFolder((), (Stray(path, _reason(error), is_hidden),), frozenset({path}))
    return _list_versions(path, children)


def _list_versions(model: Path, children: Iterable[os.DirEntry[str]]) -> ModelsFolder:
    bundles, strays = [], []
    for child in children:
        path = model / child.name
        if is_version(child.name) and _may_be_bundle(path, child):
            bundles.append(path)
        elif _may_be_folder(child):
            reason = "it holds no file of a bundle" if is_version(child.name) else "a version is a number, such as 1"
            strays.append(Stray(path, reason))
    if not bundles:  # one line about a folder of something else, however much is in it
        strays = [Stray(model, "it holds no bundle: they are folders NAME/VERSION, where a version is a number")]
    return ModelsFolder(tuple(bundles), tuple(strays))


def _may_be_bundle(path: Path, entry: os.DirEntry[str]) -> bool:
    """Whether a folder named like a version is a bundle, sound or not. What cannot be read may be one."""
    try:
        if not _is_folder(entry):
            return False
        with os.scandir(path) as files:
            suffixes = {_suffix(file.name) for file in files}
    except FileNotFoundError:
        return entry.is_symlink()  # to what is not mounted; or else it was removed meanwhile
    except OSError:
        return True
    return not suffixes or not suffixes.isdisjoint(_SUFFIXES_OF_BUNDLES)


def _suffix(name: str) -> str:
    """As `Path.suffix`, of which a folder of hundreds of bundles would make thousands at each look."""
    stem, dot, suffix = name.rpartition(".")
    return dot + suffix if stem and suffix else ""


def _may_be_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return _is_folder(entry)
    except OSError:
        return True


def _copies(bundles: Sequence[Path]) -> list[Stray]:
    """Copies beside their original, such as `cp -r spam-en backup`: their manifests name another bundle here."""
    there = {(path.parent.name, path.name) for path in bundles}
    copies = []
    for path in bundles:
        identity = _identity(path / MANIFEST_FILE)
        if identity in there and identity != (path.parent.name, path.name):
            name, version = identity
            copies.append(Stray(path, f"by its manifest it is a copy of {name} version {version}"))
    return copies


def _identity(file: Path) -> tuple[str, str]:
    """Name and version that a manifest states; "" if it cannot be read, which whoever loads it will say."""
    try:
        state = file.stat()
        if not stat.S_ISREG(state.st_mode) or state.st_size > MAX_MANIFEST_BYTES:
            return "", ""
        return _identity_in(file, (state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino))
    except (OSError, ValueError, RecursionError):
        return "", ""


@lru_cache(maxsize=_MOST_IDENTITIES)
def _identity_in(file: Path, _state: tuple[int, ...]) -> tuple[str, str]:
    """The same; a folder that is looked at every few seconds has hundreds. Raises OSError, ValueError, RecursionError.

    `_state` differs when the file has changed.
    """
    values = json.loads(file.read_bytes())
    return (str(values.get("name")), str(values.get("version", "1"))) if isinstance(values, dict) else ("", "")


def _place(path: Path) -> tuple[str, int, str]:
    return path.parent.name, len(path.name), path.name


def _reason(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "it is a link to nothing, or was removed meanwhile"
    return f"it cannot be read: {error.strerror or error}"
