"""Folders that a run writes into: whether they can be written to, whether they have room, and refusals in words."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from service.errors import UnrollError

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_FORBIDDEN: Final = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
MEGABYTE: Final = 10**6


class PlaceFault(UnrollError):
    """A folder cannot be written to, or has too little room."""


def check_writable(folder: Path, option: str) -> None:
    """Try to write into `folder`, or into the nearest folder above it that exists; leaves nothing behind.

    Permissions are not looked up but tried: root may do what they forbid, and a read-only file system forbids what they
    allow.

    Raises:
        PlaceFault: names the folder, and `option`, which changes it.
    """
    existing = _nearest_existing(folder)
    if not existing.is_dir():
        raise PlaceFault(f"{folder}: {existing} is a file, not a folder; {option} names another one")
    try:
        with tempfile.NamedTemporaryFile(dir=existing, prefix=".unroll-") as file:
            file.write(b"\0")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        where = f" in {existing}" if existing != folder else ""
        raise PlaceFault(
            f"{folder}: cannot be written to{where} ({_reason(error)}); {option} names another one"
        ) from error


def check_room(folder: Path, needed_bytes: int, option: str) -> None:
    """Raises PlaceFault where the disk of `folder` has less room than `needed_bytes`."""
    free = shutil.disk_usage(_nearest_existing(folder)).free
    if free < needed_bytes:
        raise PlaceFault(
            f"{folder}: {_megabytes(free)} are free there, but about {_megabytes(needed_bytes)} are needed; "
            f"free some space, or name a folder on another disk with {option}"
        )


def refusal(error: OSError) -> str:
    """What the operating system refused, in one sentence, with what to do about it."""
    where = f"{error.filename}: " if error.filename else ""
    if error.errno in _FULL:
        return f"{where}the disk is full: free some space, or name a folder on another disk"
    if error.errno in _FORBIDDEN:
        return f"{where}cannot be written or read ({_reason(error)})"
    return f"{where}{_reason(error)}"


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _nearest_existing(folder: Path) -> Path:
    """The folder itself, or the nearest one above it; a broken link counts as missing."""
    folder = folder.absolute()
    return next((path for path in (folder, *folder.parents) if path.exists()), Path(folder.anchor))


def _megabytes(count: int) -> str:
    return f"{count / MEGABYTE:,.1f} MB"
