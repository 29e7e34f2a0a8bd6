"""Load a bundle and check it before anything runs: all files present, all digests correct, all parts readable."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from service.bundle.manifest import Manifest
from service.bundle.padding import FloatArray
from service.bundle.tokenizer import TextTokenizer
from service.errors import BundleCorrupt, BundleIncomplete

MANIFEST_FILE = "manifest.json"
EXAMPLES_FILE = "examples.jsonl"
CARD_FILE = "README.md"
TRANSITIONS_FILE = "transitions.npy"
WEIGHTS_FILE = "weights.bin"


@dataclass(frozen=True)
class Example:
    """A recorded input with its parameters, and torch's answer in the form of the service."""

    inputs: Any
    parameters: dict[str, Any]
    answer: Any


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


def find_bundles(root: Path) -> list[Path]:
    """`root/<name>/<version>` folders, by name and then by version number. Hidden folders are left out.

    A folder without a manifest is listed too, so that a half-copied bundle is reported instead of skipped.
    """
    if not root.is_dir():
        raise BundleIncomplete(root, "there is no such folder of models")
    found = [
        version
        for name in sorted(root.iterdir())
        if name.is_dir() and not name.name.startswith(".")
        for version in name.iterdir()
        if version.is_dir() and not version.name.startswith(".")
    ]
    return sorted(found, key=lambda path: (path.parent.name, len(path.name), path.name))


def load_bundle(path: Path) -> Bundle:
    """Read and check one bundle folder.

    Raises:
        BundleIncomplete: a file is missing.
        BundleCorrupt: a digest differs, or a part cannot be read.
    """
    manifest = read_manifest(path)
    _check_files(path, manifest)
    return Bundle(
        path=path,
        manifest=manifest,
        tokenizers={role: _load_tokenizer(path / file) for role, file in manifest.tokenizers.items()},
        examples=_load_examples(path / EXAMPLES_FILE),
        transitions=_load_transitions(path, manifest),
    )


def read_manifest(path: Path) -> Manifest:
    """The manifest of the bundle in folder `path`; raises BundleError where it is absent or not valid."""
    file = path / MANIFEST_FILE
    if not path.is_dir():
        raise BundleIncomplete(path, "there is no such folder; a bundle is a folder models/NAME/VERSION")
    if not file.is_file():
        raise BundleIncomplete(path, f"there is no {MANIFEST_FILE}")
    try:
        return Manifest.model_validate_json(file.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "top level"
        raise BundleCorrupt(file, f"{where}: {first['msg']}") from error


def _check_files(path: Path, manifest: Manifest) -> None:
    needed = {spec.file for spec in manifest.graphs.values()} | set(manifest.tokenizers.values()) | {EXAMPLES_FILE}
    needed |= {file for variant in manifest.variants.values() for file in variant.graphs.values()}
    unlisted = needed - set(manifest.files)
    if unlisted:
        raise BundleIncomplete(path / MANIFEST_FILE, f"no digest for {', '.join(sorted(unlisted))}")
    for name, digest in manifest.files.items():
        file = path / name
        if not file.resolve().is_relative_to(path.resolve()):
            raise BundleCorrupt(path / MANIFEST_FILE, f"{name!r} lies outside the bundle")
        if not file.is_file():
            raise BundleIncomplete(path, f"{name} is missing")
        if file_digest(file) != digest:
            raise BundleCorrupt(file, "its sha256 is not the one in the manifest: damaged or edited after export")


def _load_tokenizer(file: Path) -> TextTokenizer:
    try:
        return TextTokenizer.load(file)
    except ValueError as error:
        raise BundleCorrupt(file, str(error)) from error


def _load_examples(file: Path) -> tuple[Example, ...]:
    try:
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line]
        examples = tuple(Example(row["inputs"], row["parameters"], row["answer"]) for row in rows)
    except (ValueError, KeyError, TypeError) as error:
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
