"""Writing bundles: staged in a hidden folder and published by one rename, so that no reader sees half a bundle."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from service.bundle.load import EXAMPLES_FILE, MANIFEST_FILE, Example, file_digest, read_manifest
from service.bundle.manifest import Manifest
from service.bundle.models_folder import STAGING_FOLDER
from service.bundle.seal import content_of, seal

#: Who signed the manifest, beside it; made when a bundle is pushed, and of no use once the manifest is another.
SIGNATURE_FILE: Final = "signature.json"


def staging_folder(models_root: Path, name: str) -> Path:
    """A new empty folder on the same file system as `models_root`, hidden from `find_bundles`."""
    parent = models_root / STAGING_FOLDER
    parent.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=parent))


def write_examples(folder: Path, examples: Iterable[Example]) -> None:
    """Write `examples.jsonl`: one object per line with the fields of an `Example`, without those that are None."""
    lines = [json.dumps(_row(example), ensure_ascii=False) for example in examples]
    (folder / EXAMPLES_FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _row(example: Example) -> dict[str, Any]:
    row = {"inputs": example.inputs, "parameters": example.parameters, "answer": example.answer}
    further = {"label_scores": example.label_scores, "embedding": example.embedding}
    return row | {name: value for name, value in further.items() if value is not None}


def write_manifest(folder: Path, manifest: Manifest) -> Manifest:
    """Write `manifest.json` with the digest of every other file in the folder, and its own. Returns it as written.

    A signature in the folder was that of another manifest, and is deleted.
    """
    (folder / SIGNATURE_FILE).unlink(missing_ok=True)
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and path.name != MANIFEST_FILE)
    complete = seal(manifest.model_copy(update={"files": {name: file_digest(folder / name) for name in names}}))
    (folder / MANIFEST_FILE).write_bytes(content_of(complete))
    return complete


def publish(staged: Path, models_root: Path) -> Path:
    """Move a staged bundle to `models_root/<name>/<version>`, replacing one that is there.

    The old folder is renamed away first: for a moment the version is absent, but files are never mixed.
    """
    manifest = read_manifest(staged)
    target = models_root / manifest.name / manifest.version
    target.parent.mkdir(parents=True, exist_ok=True)
    staged.chmod(0o755)
    retired = None
    if target.exists():
        retired = Path(tempfile.mkdtemp(prefix="retired-", dir=staged.parent))
        target.rename(retired / "bundle")
    staged.rename(target)
    if retired is not None:
        shutil.rmtree(retired)
    _remove_if_empty(staged.parent)
    return target


def publish_new(staged: Path, models_root: Path) -> Path:
    """Move a staged bundle to `models_root/<name>/<version>`, on the disk before it can be seen there.

    Raises:
        FileExistsError: that version was published before; nothing is changed.
    """
    manifest = read_manifest(staged)
    target = models_root / manifest.name / manifest.version
    target.parent.mkdir(parents=True, exist_ok=True)
    staged.chmod(0o755)
    for file in staged.iterdir():
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
    if target.exists():
        raise FileExistsError(errno.EEXIST, "this version was published before", str(target))
    try:
        staged.rename(target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):  # published by another process just now
            raise FileExistsError(errno.EEXIST, "this version was published before", str(target)) from error
        raise
    _remove_if_empty(staged.parent)
    return target


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        pass  # another export is staging there
