"""Load a bundle and check it before anything runs: all files present, all digests correct, all parts readable."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
from pydantic import ValidationError

from service.bundle.manifest import Manifest
from service.bundle.padding import FloatArray
from service.bundle.seal import has_seal, is_unchanged
from service.bundle.task_options import TaskName
from service.bundle.tokenizer import TextTokenizer
from service.errors import BundleCorrupt, BundleError, BundleIncomplete

MANIFEST_FILE = "manifest.json"
EXAMPLES_FILE = "examples.jsonl"
CARD_FILE = "README.md"
TRANSITIONS_FILE = "transitions.npy"
WEIGHTS_FILE = "weights.bin"
#: Far above any real manifest. Larger files are not read into memory.
MAX_MANIFEST_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class Example:
    """A recorded input with its parameters, and torch's answer in the form of the service.

    `label_scores` are what the graph computes for every label, by output and label; `embedding` is the hidden state of
    the input as one vector. Both are None where they are not recorded.
    """

    inputs: Any
    parameters: dict[str, Any]
    answer: Any
    label_scores: Mapping[str, Mapping[str, float]] | None = None
    embedding: Sequence[float] | None = None


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files are all present and unchanged. Its graphs are not open yet."""

    path: Path
    manifest: Manifest
    tokenizers: dict[str, TextTokenizer]
    examples: tuple[Example, ...] = ()
    transitions: FloatArray | None = field(default=None, repr=False)

    def graph_path(self, graph: str) -> Path:
        return self.path / self.manifest.graphs[graph].file

    def shared_weights(self) -> bytes:
        """Weights that several graphs share, stored outside them; b"" if none are."""
        return (self.path / WEIGHTS_FILE).read_bytes() if WEIGHTS_FILE in self.manifest.files else b""

    @property
    def digest(self) -> str:
        """One hash of the whole content: the sha256 of the manifest, which lists those of all other files."""
        return file_digest(self.path / MANIFEST_FILE)


def file_digest(path: Path) -> str:
    """sha256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_bundle(path: Path, link_roots: Sequence[Path] | None = None) -> Bundle:
    """Read and check one bundle folder.

    Args:
        link_roots: where links may lead, from the folder itself and from its files; None: anywhere.

    Raises:
        BundleIncomplete: a file is missing.
        BundleCorrupt: a digest differs, a link leads elsewhere, or a part cannot be read.
    """
    try:
        if link_roots is not None:
            _check_link(path, link_roots)
        manifest = read_manifest(path)
        if link_roots is not None:
            _check_link(path / MANIFEST_FILE, link_roots)
        _check_files(path, manifest, link_roots)
        return Bundle(
            path=path,
            manifest=manifest,
            tokenizers={role: _load_tokenizer(path / file) for role, file in manifest.tokenizers.items()},
            examples=_load_examples(path / EXAMPLES_FILE),
            transitions=_load_transitions(path, manifest),
        )
    except OSError as error:
        at_fault = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else path
        raise BundleCorrupt(at_fault, f"cannot be read: {error.strerror or error}") from error


def read_manifest(path: Path, is_edited: bool = False) -> Manifest:
    """The manifest of the bundle in folder `path`.

    Args:
        is_edited: accept one that was changed after it was published, to publish it again.

    Raises:
        BundleError: it is absent, not valid, or not what was published.
    """
    file = path / MANIFEST_FILE
    content = _content_of_manifest(path)
    if not is_edited and has_seal(content) and not is_unchanged(content):
        raise BundleCorrupt(file, _changed(path))
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "top level"
        raise BundleCorrupt(file, f"{where}: {first['msg']}") from error
    if not is_edited and manifest.digest and not has_seal(content):
        raise BundleCorrupt(file, _changed(path))
    return manifest


def named_task(path: Path) -> TaskName | None:
    """The task that the manifest of a bundle names, also of one that cannot be used; None where it cannot be read."""
    try:
        content = json.loads(_content_of_manifest(path))
    except (BundleError, ValueError, RecursionError):
        return None
    task = content.get("task") if isinstance(content, dict) else None
    return next((known for known in get_args(TaskName) if known == task), None)


def _content_of_manifest(path: Path) -> bytes:
    file = path / MANIFEST_FILE
    try:
        if not path.is_dir():
            raise BundleIncomplete(path, "there is no such folder; a bundle is a folder models/NAME/VERSION")
        if not file.is_file():
            raise BundleIncomplete(
                path, f"{MANIFEST_FILE} is no file" if file.exists() else f"there is no {MANIFEST_FILE}"
            )
        if file.stat().st_size > MAX_MANIFEST_BYTES:
            raise BundleCorrupt(file, f"larger than {MAX_MANIFEST_BYTES:,} bytes, which no manifest is")
        return file.read_bytes()
    except OSError as error:
        raise BundleCorrupt(file, f"cannot be read: {error.strerror or error}") from error


def _changed(path: Path) -> str:
    return (
        "was changed after publishing: its content is not what its digest says. Restore it; or, if the change is meant,"
        f" seal it again: unroll models seal {path.parent.name}@{path.name}"
    )


def _check_link(path: Path, link_roots: Sequence[Path]) -> None:
    """Raises BundleCorrupt if a path leads, by links, to a place outside of the roots."""
    real = os.path.realpath(path, strict=True)
    if not any(Path(real).is_relative_to(os.path.realpath(root)) for root in link_roots):
        reason = "links to a place outside of the models folder: to allow it, name the folder in UNROLL_LINK_ROOTS"
        raise BundleCorrupt(path, f"{reason} ({real})")


def _check_files(path: Path, manifest: Manifest, link_roots: Sequence[Path] | None) -> None:
    needed = {spec.file for spec in manifest.graphs.values()} | set(manifest.tokenizers.values()) | {EXAMPLES_FILE}
    needed |= {file for variant in manifest.variants.values() for file in variant.graphs.values()}
    unlisted = needed - set(manifest.files)
    if unlisted:
        raise BundleIncomplete(path / MANIFEST_FILE, f"no digest for {', '.join(sorted(unlisted))}")
    for name, digest in manifest.files.items():
        file = path / name
        if not _is_inside(name):
            raise BundleCorrupt(path / MANIFEST_FILE, f"{name!r} lies outside the bundle")
        if not file.is_file():
            raise BundleIncomplete(path, f"{name} is {'no file' if file.exists() else 'missing'}")
        if link_roots is not None:
            _check_link(file, link_roots)
        if file_digest(file) != digest:
            raise BundleCorrupt(file, "its sha256 is not the one in the manifest: damaged or edited after export")


def _is_inside(name: str) -> bool:
    """Whether a name from a manifest is that of a file in the bundle's folder, links aside."""
    parts = Path(os.path.normpath(name)).parts
    return bool(parts) and parts[0] not in (os.sep, "..") and "\0" not in name


def _load_tokenizer(file: Path) -> TextTokenizer:
    try:
        return TextTokenizer.load(file)
    except ValueError as error:
        raise BundleCorrupt(file, str(error)) from error


def _load_examples(file: Path) -> tuple[Example, ...]:
    try:
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line]
        examples = tuple(
            Example(row["inputs"], row["parameters"], row["answer"], row.get("label_scores"), row.get("embedding"))
            for row in rows
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BundleCorrupt(file, f"not a list of examples: {error!r}") from error
    if not examples:
        raise BundleIncomplete(file, "a bundle needs at least one example to prove itself with")
    return examples


def _load_transitions(path: Path, manifest: Manifest) -> FloatArray | None:
    if manifest.options.task != "tagging" or manifest.options.decoder != "crf":
        return None
    file = path / TRANSITIONS_FILE
    if TRANSITIONS_FILE not in manifest.files:
        raise BundleIncomplete(path / MANIFEST_FILE, f"a CRF tagger needs {TRANSITIONS_FILE}")
    try:
        transitions = np.load(file, allow_pickle=False)
    except (ValueError, OSError) as error:
        raise BundleCorrupt(file, f"not an array: {error}") from error
    side = len(manifest.labels) + 1
    if transitions.dtype != np.float32 or transitions.shape != (side, side):
        raise BundleCorrupt(file, f"must be float32 [{side}, {side}], is {transitions.dtype} {transitions.shape}")
    return np.asarray(transitions, dtype=np.float32)
