"""Tensors in one safetensors file: written atomically and durably, with a checksum of all that it holds."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from service.errors import UnrollError

DIGEST_KEY: Final = "sha256"
#: What else the files of earlier versions hold, which have no digest. Any other key without it is a damaged one.
_EARLIER_KEYS: Final = frozenset({"facts", "format", "progress"})
#: How safetensors, which is written in Rust, and Python spell errors 28 and 122 of the operating system.
_FULL_DISK: Final = re.compile(r"StorageFull|QuotaExceeded|No space left|quota exceeded|code: (28|122)\b")
_LOG = logging.getLogger(__name__)


class CheckpointFault(UnrollError):
    """A checkpoint is missing, damaged, or belongs to another network."""


class CheckpointDamaged(CheckpointFault):
    """The content of a checkpoint is not what was written."""


def write_tensors(
    path: Path, tensors: dict[str, Tensor], metadata: dict[str, str], previous: Path | None = None
) -> None:
    """Write one safetensors file atomically. Tensors that share memory (tied weights) are stored separately.

    When this returns, the file survives a loss of power. The old content of `path` is kept as `previous`, if given.

    Raises:
        CheckpointFault: the disk is full or not writable; the previous content of `path` is kept.
    """
    partial = path.with_name(path.name + ".partial")
    partial.unlink(missing_ok=True)  # of a process that was killed
    apart = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    plain = {key: value for key, value in metadata.items() if key != DIGEST_KEY}
    try:
        save_file(apart, partial, {**plain, DIGEST_KEY: content_digest(apart, plain)})
        _flush(partial)
        if previous is not None:
            _keep(path, previous)
        partial.replace(path)
        _flush(path.parent)
    except (OSError, SafetensorError) as error:
        partial.unlink(missing_ok=True)
        why = "the disk is full" if _FULL_DISK.search(str(error)) else str(error)
        raise CheckpointFault(f"{path}: cannot be written: {why}") from error


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors, on the CPU, and the metadata, once the checksum is verified.

    A file of an older version has no checksum: it is read, with a warning in the log.

    Raises:
        CheckpointDamaged: the file cannot be read, or differs from what was written.
        CheckpointFault: the file is missing.
    """
    if not path.is_file():
        raise CheckpointFault(f"{path}: there is no such checkpoint")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            names: list[str] = file.keys()
            tensors, metadata = {name: file.get_tensor(name) for name in names}, dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointDamaged(f"{path}: damaged: {error}") from error
    digest = metadata.pop(DIGEST_KEY, None)
    if digest is None and metadata.keys() <= _EARLIER_KEYS:
        _LOG.warning("%s was written by an older version, without a checksum: whether it is damaged is unknown", path)
    elif digest != content_digest(tensors, metadata):
        raise CheckpointDamaged(f"{path}: damaged: its content does not match its checksum")
    return tensors, metadata


def content_digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """sha256 over names, types, shapes and values of all tensors, and over the metadata; hexadecimal."""
    found = hashlib.sha256(repr(sorted(metadata.items())).encode("utf-8", "surrogatepass"))
    for name in sorted(tensors):
        value = tensors[name]
        found.update(repr((name, str(value.dtype), tuple(value.shape))).encode("utf-8", "surrogatepass"))
        found.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _keep(path: Path, previous: Path) -> None:
    """Keep the file `path` as `previous` too; `path` itself is there at every moment."""
    second = path.with_name(f"{path.name}.kept")
    try:
        second.unlink(missing_ok=True)
        second.hardlink_to(path)
        second.replace(previous)
    except OSError:  # there is no file yet, or the file system has no links: then nothing is kept
        second.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Wait until a file, or the entries of a folder, are on the disk; some file systems cannot do so for folders."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:
        if path.is_dir():
            return
        raise
    try:
        os.fsync(descriptor)
    except OSError:
        if not path.is_dir():
            raise
    finally:
        os.close(descriptor)
