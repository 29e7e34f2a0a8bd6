"""The hidden folder into which a bundle is received. Nothing of it is left, whatever ends the pull."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from service.bundle.models_folder import STAGING_FOLDER
from service.errors import HubError

_PREFIX: Final = "pull-"
#: A folder without a lock was made just now, or is what a killed pull left: old ones are the latter.
_ABANDONED_AFTER_S: Final = 60.0


@contextmanager
def pull_folder(models_root: Path) -> Iterator[Path]:
    """A new empty folder on the same file system as `models_root`, gone in the end unless it was moved.

    What pulls left that were killed is deleted first. Raises HubError where it cannot be made.
    """
    parent = models_root / STAGING_FOLDER
    try:
        parent.mkdir(parents=True, exist_ok=True)
        _delete_abandoned(parent)
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    except OSError as error:
        raise HubError(f"{error.filename or parent}: cannot be written: {error.strerror}") from error
    lock = _lock(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)
        with suppress(OSError):  # others are staging there
            parent.rmdir()


def _lock(folder: Path) -> int | None:
    """A descriptor that holds the lock of a folder until it is closed, or the process ends; None if another has it."""
    if sys.platform == "win32":
        return None
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # held, or the file system has no locks
        os.close(descriptor)
        return None
    return descriptor


def _delete_abandoned(parent: Path) -> None:
    for folder in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):  # another pull deletes it too
            if time.time() - folder.stat().st_mtime < _ABANDONED_AFTER_S:
                continue
            lock = _lock(folder)
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)
