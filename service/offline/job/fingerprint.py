"""What a job is of, so that parts of another one are never mixed with its own: digests of its input and model."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from service.bundle.load import file_digest


def input_fingerprint(path: Path) -> dict[str, Any]:
    """Size and digest of a file; of a folder, of the names, sizes and times of its files."""
    if path.is_file():
        return {"size": path.stat().st_size, "sha256": file_digest(path)}
    listed = hashlib.sha256()
    size = 0
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        state = file.stat()
        size += state.st_size
        listed.update(
            f"{file.relative_to(path)}\0{state.st_size}\0{state.st_mtime_ns}\0".encode(errors="surrogateescape")
        )
    return {"size": size, "sha256": listed.hexdigest()}


def time_stamp(path: Path) -> tuple[int, int]:
    """Size and time of change: whether a file was written to while it was read."""
    state = path.stat()
    return state.st_size, state.st_mtime_ns
