"""Change what a models folder holds: remove, rename and seal bundles, roll a model back to an older version.

Each change becomes visible by one rename on the same file system, so that a service which watches the folder never sees
half of one, and a change that is interrupted can be made again. Only `remove` deletes a bundle.
"""

from __future__ import annotations

import difflib
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from service.bundle.load import CARD_FILE, MANIFEST_FILE, file_digest, load_bundle, read_manifest
from service.bundle.models_folder import (
    SET_ASIDE_FOLDER,
    STAGING_FOLDER,
    find_bundles,
    is_model_name,
    is_version,
    printable,
)
from service.bundle.rollout_file import ROLLOUT_FILE, read_rollout, write_rollout
from service.bundle.seal import content_of, seal
from service.bundle.write import staging_folder, write_manifest
from service.errors import BundleError, InvalidInput, UnknownModel


@dataclass(frozen=True)
class RolledBack:
    """The version that answers now, and the versions that were moved for it."""

    serves: str
    set_aside: tuple[str, ...]
    brought_back: tuple[str, ...]


def named(bundles: Sequence[Path], name: str, version: str | None = None) -> Path:
    """The bundle of this name, by default its highest version. Raises UnknownModel with the nearest name."""
    versions = [path for path in bundles if path.parent.name == name]
    if not versions:
        names = sorted({path.parent.name for path in bundles})
        near = difflib.get_close_matches(name, names, n=1)
        meant = f"did you mean {near[0]}? There" if near else "there"
        raise UnknownModel(f"there is no model {name!r}; {meant} are: {', '.join(names) or 'none'}", names)
    found = [path for path in versions if version in (None, path.name)]
    if not found:
        numbers = [path.name for path in versions]
        raise UnknownModel(f"{name} has no version {version!r}; there are: {', '.join(numbers)}", numbers)
    return found[-1]


def versions_of(root: Path, name: str) -> list[Path]:
    """Every version of a model, also those that were set aside, by number. See `taken_versions` for a new one.

    Raises UnknownModel where there is none, InvalidInput where the model is a link to a folder elsewhere.
    """
    if (root / name).is_symlink():
        raise InvalidInput(f"{root / name} is a link: remove the link, or work in the folder that it leads to")
    if not _visible(root, name) and not _set_aside(root, name):
        named(find_bundles(root), name)
    return sorted([*_visible(root, name), *_set_aside(root, name)], key=_number)


def taken_versions(root: Path, name: str) -> list[int]:
    """The numbers that a new version must not have: those that are there, sound or not, and those set aside."""
    folders = (root / name, root / name / SET_ASIDE_FOLDER)
    entries = [entry for folder in folders if folder.is_dir() for entry in folder.iterdir()]
    return sorted(int(entry.name) for entry in entries if is_version(entry.name))


def remarks_on(root: Path, bundles: Iterable[Path]) -> list[str]:
    """Versions that were set aside, and bundles whose manifest has no digest, one sentence each."""
    bundles = list(bundles)
    remarks = []
    for name in sorted({path.parent.name for path in bundles}):
        aside = [path.name for path in _set_aside(root, name)]
        if aside:
            back = f"unroll models rollback {name} {aside[-1]}"
            remarks.append(f"{name}: set aside by a rollback: {', '.join(aside)}. To bring back: {back}")
    for path in bundles:
        if _is_unsealed(path):
            identity = f"{path.parent.name}@{path.name}"
            remarks.append(f"{path}: its manifest has no digest. To add one: unroll models seal {identity}")
    return remarks


def remove_bundles(root: Path, name: str, bundles: Iterable[Path]) -> None:
    """Delete versions of a model. Each disappears at once, before its files are deleted. Raises OSError."""
    for path in bundles:
        if path.is_symlink():
            path.unlink()
        else:
            grave = staging_folder(root, "removed")
            path.rename(grave / path.name)
            shutil.rmtree(grave)
    if not _visible(root, name) and not _set_aside(root, name):
        (root / name / ROLLOUT_FILE).unlink(missing_ok=True)
    _remove_if_empty(root / STAGING_FOLDER, root / name / SET_ASIDE_FOLDER, root / name)


def prunable_versions(root: Path, name: str, keep: int) -> list[Path]:
    """The versions below the `keep` highest ones that the rollout file does not name, lowest first.

    Those that a rollback has set aside are left alone.

    Raises:
        InvalidInput: the model is a link to a folder elsewhere.
        BundleCorrupt: the rollout file cannot be read, so that nothing is known to be free.
    """
    if (root / name).is_symlink():
        raise InvalidInput(f"{root / name} is a link: remove the link, or work in the folder that it leads to")
    used = read_rollout(root / name).versions()
    free = [path for path in _visible(root, name) if path.name not in used]
    return free[: max(0, len(free) - keep)]


def rename_model(root: Path, old: str, new: str) -> Path:
    """Give all versions of a model another name, in their manifests and cards too; returns the new folder.

    For a moment both names are there. The weights are linked, not copied, where the file system can.

    Raises:
        InvalidInput: no model can have the new name, or one has it.
        UnknownModel: there is no model of the old name.
        BundleError: a version is damaged.
    """
    versions = versions_of(root, old)
    target = root / new
    if not is_model_name(new):
        raise InvalidInput(
            f"{printable(new)!r} is no name for a model: it is a-z, 0-9 and . _ -, 64 characters at most"
        )
    if os.path.lexists(target):
        raise InvalidInput(f"{target} is there already: choose another name, or remove it first")
    staged = staging_folder(root, new)
    try:
        for path in versions:
            _write_renamed(path, staged / path.relative_to(root / old), new)
        write_rollout(staged, read_rollout(root / old))
        staged.chmod(0o755)
        staged.rename(target)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
        _remove_if_empty(staged.parent)
    remove_bundles(root, old, versions)
    return target


def roll_back(root: Path, name: str, version: str | None = None) -> RolledBack:
    """Make `version` the highest one, by default the version before the highest.

    The versions above it are set aside, hidden in the folder of the model; those up to it that were set aside before
    are brought back. Nothing is deleted, and the same command with a higher version undoes it.

    Raises:
        UnknownModel: there is no such model or version, or none before the highest.
        BundleError: the version is damaged: the model would not answer at all.
    """
    target = _version_of(root, name, version) if version else _before_highest(root, name)
    load_bundle(target)
    _refuse_twins(root, name)
    aside = [path for path in _visible(root, name) if _number(path) > _number(target)]
    back = [path for path in _set_aside(root, name) if _number(path) <= _number(target)]
    hidden = root / name / SET_ASIDE_FOLDER
    if aside:
        hidden.mkdir(exist_ok=True)
    for path in back:
        path.rename(root / name / path.name)
    for path in aside:  # the highest last, so that no other version than the target answers in between
        path.rename(hidden / path.name)
    _remove_if_empty(hidden)
    return RolledBack(target.name, tuple(path.name for path in aside), tuple(path.name for path in back))


def changed_files(path: Path) -> list[str]:
    """The files of a bundle that differ from what its manifest says, and those that it lacks. Raises BundleError."""
    manifest = read_manifest(path, is_edited=True)
    return [
        name
        for name, digest in manifest.files.items()
        if not (path / name).is_file() or file_digest(path / name) != digest
    ]


def sealed_copy(root: Path, path: Path) -> Path:
    """A copy of an edited bundle with new digests, in a hidden folder, to be tried before `adopt_seal`.

    Raises:
        BundleError: its manifest is not valid.
    """
    manifest = read_manifest(path, is_edited=True)
    staged = staging_folder(root, path.parent.name)
    for file in path.iterdir():
        if file.is_file() and file.name != MANIFEST_FILE:
            _link_or_copy(file, staged / file.name)
    write_manifest(staged, manifest)
    return staged


def adopt_seal(staged: Path, path: Path) -> None:
    """Replace the manifest of a bundle by that of its sealed copy, at once, and drop the copy."""
    (staged / MANIFEST_FILE).replace(path / MANIFEST_FILE)
    drop_copy(staged)


def drop_copy(staged: Path) -> None:
    """Delete a copy made by `sealed_copy`."""
    shutil.rmtree(staged, ignore_errors=True)
    _remove_if_empty(staged.parent)


def _version_of(root: Path, name: str, version: str) -> Path:
    every = versions_of(root, name)
    found = [path for path in every if path.name == version]
    if not found:
        numbers = [path.name for path in every]
        raise UnknownModel(f"{name} has no version {version!r}; there are: {', '.join(numbers)}", numbers)
    return found[0]


def _before_highest(root: Path, name: str) -> Path:
    versions_of(root, name)
    visible = _visible(root, name)
    if len(visible) < 2:
        only = f"the only version that answers is {visible[0].name}" if visible else "none of its versions answers"
        raise UnknownModel(f"{name} has nothing to roll back to: {only}")
    return visible[-2]


def _write_renamed(path: Path, folder: Path, new: str) -> None:
    """Write a bundle under another name. Raises BundleError if it is not what was published."""
    manifest = load_bundle(path).manifest
    folder.mkdir(parents=True)
    for file in manifest.files:
        if file != CARD_FILE:
            _link_or_copy(path / file, folder / file)
    files = dict(manifest.files)
    if CARD_FILE in files:
        card = (path / CARD_FILE).read_text(encoding="utf-8")
        (folder / CARD_FILE).write_text(_renamed_in(card, manifest.name, new), encoding="utf-8")
        files[CARD_FILE] = file_digest(folder / CARD_FILE)
    renamed = seal(manifest.model_copy(update={"name": new, "files": files}))
    (folder / MANIFEST_FILE).write_bytes(content_of(renamed))


def _renamed_in(card: str, old: str, new: str) -> str:
    """The card with the new name where it stands for the bundle, not for its recipe or its run."""
    for place in ("# {}, version", '"model": "{}"', "models/{}/"):
        card = card.replace(place.format(old), place.format(new))
    return card


def _link_or_copy(file: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if file.is_symlink():
        target.symlink_to(file.resolve())
        return
    try:
        target.hardlink_to(file)
    except OSError:  # a file system without hard links
        shutil.copy2(file, target)


def _refuse_twins(root: Path, name: str) -> None:
    """A version that was set aside and then published once more cannot be brought back over its namesake."""
    twins = {path.name for path in _visible(root, name)} & {path.name for path in _set_aside(root, name)}
    if twins:
        where = root / name / SET_ASIDE_FOLDER
        raise InvalidInput(f"{name} version {', '.join(sorted(twins))} is there and in {where} too: delete one")


def _visible(root: Path, name: str) -> list[Path]:
    return [path for path in find_bundles(root) if path.parent.name == name]


def _set_aside(root: Path, name: str) -> list[Path]:
    folder = root / name / SET_ASIDE_FOLDER
    try:
        return sorted((path for path in folder.iterdir() if is_version(path.name)), key=_number)
    except OSError:
        return []


def _number(path: Path) -> int:
    return int(path.name)


def _is_unsealed(path: Path) -> bool:
    try:
        return not read_manifest(path).digest
    except BundleError:
        return False


def _remove_if_empty(*folders: Path) -> None:
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            pass  # something is in it, or it is not there
