"""What a job is of, so that parts of another one are never mixed with its own: a digest of its input."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from service.bundle.load import file_digest


def input_fingerprint(path: Path, files: Sequence[Path]) -> dict[str, Any]:
    """Size and digest of a file; of a folder, of the names, sizes and times of those files in it that are read."""
    if path.is_file():
        return {"size": path.stat().st_size, "sha256": file_digest(path)}
    stamps = time_stamps(files)
    listed = hashlib.sha256()
    for file, (size, time_ns) in zip(files, stamps, strict=True):
        listed.update(f"{file.relative_to(path)}\0{size}\0{time_ns}\0".encode(errors="surrogateescape"))
    return {"size": sum(size for size, _ in stamps), "sha256": listed.hexdigest()}


def time_stamps(files: Sequence[Path]) -> list[tuple[int, int]]:
    """Size and time of change of each file: whether one was written to, or removed, while it was read."""
    return [_time_stamp(file) for file in files]


def _time_stamp(path: Path) -> tuple[int, int]:
    try:
        state = path.stat()
    except OSError:  # its row says why
        return -1, 0
    return state.st_size, state.st_mtime_ns
