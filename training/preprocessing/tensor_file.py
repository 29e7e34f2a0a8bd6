"""Tensors in one safetensors file, written atomically."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from service.errors import UnrollError


class CheckpointFault(UnrollError):
    """A checkpoint is missing, damaged, or belongs to another network."""


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write one safetensors file atomically. Tensors that share memory (tied weights) are stored separately.

    Raises:
        CheckpointFault: the disk is full or not writable; the previous content of `path` is kept.
    """
    partial = path.with_name(path.name + ".partial")
    apart = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    try:
        save_file(apart, partial, metadata)
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        partial.unlink(missing_ok=True)
        raise CheckpointFault(f"{path}: cannot be written: {error}") from error


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors, on the CPU, and the metadata. Raises CheckpointFault when the file is missing or damaged."""
    if not path.is_file():
        raise CheckpointFault(f"{path}: there is no such checkpoint")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            names: list[str] = file.keys()
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except SafetensorError as error:
        raise CheckpointFault(f"{path}: damaged: {error}") from error
