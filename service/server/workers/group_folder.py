"""The folder of a group of workers: in memory, private, removed at the end, and with it those that others left behind.

The supervisor holds a lock on a file in it, which its workers inherit: a folder whose lock is free has no owner.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from service.settings import SettingsError

MEMORY = Path("/dev/shm")
PREFIX = "unroll-workers-"
_LOCK = "owner.lock"
#: What workers share should find so much room; containers have 64 MB there by default, and spill to the disk then.
_ROOM_BYTES = 128 * 1024 * 1024
#: The name of a socket has 107 bytes at most.
_MAX_PARENT_BYTES = 107 - len(f"/{PREFIX}12345678/connections-255")
#: A folder without a lock that is younger is being made.
_YOUNG_S = 60.0


@contextmanager
def group_folder(wanted: Path | None) -> Iterator[Path]:
    """A new folder, removed afterwards, in `wanted`, or in memory, or else in the temporary folder.

    Raises:
        SettingsError: no folder can be made there.
    """
    parents = [wanted] if wanted is not None else _candidates()
    for parent in parents:
        _remove_left(parent)
    folder, lock = _make(parents)
    try:
        yield folder
    finally:
        os.close(lock)
        shutil.rmtree(folder, ignore_errors=True)


def _candidates() -> list[Path]:
    temporary = Path(tempfile.gettempdir())
    try:
        has_room = shutil.disk_usage(MEMORY).free >= _ROOM_BYTES
    except OSError:
        return [temporary]
    return [MEMORY, temporary] if has_room else [temporary, MEMORY]


def _make(parents: list[Path]) -> tuple[Path, int]:
    """A folder in the first of the parents that has room for it, and the descriptor that holds its lock."""
    reasons = []
    for parent in parents:
        if len(os.fsencode(parent)) > _MAX_PARENT_BYTES:
            reasons.append(f"{parent}: its name is longer than {_MAX_PARENT_BYTES} bytes, which sockets in it allow")
            continue
        try:
            folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))  # readable by its owner alone
            try:
                return folder, _own(folder)
            except OSError:
                shutil.rmtree(folder, ignore_errors=True)
                raise
        except OSError as error:
            reasons.append(f"{parent}: {error.strerror or error}")
    raise SettingsError(
        f"workers need a folder that they can write, and there is none ({'; '.join(reasons)}): set UNROLL_WORKERS_DIR"
    )


def _own(folder: Path) -> int:
    """Lock a new folder. The lock is held before it has its name, so that nobody finds it free."""
    staged = folder / f".{_LOCK}"
    lock = os.open(staged, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        staged.rename(folder / _LOCK)
    except OSError:
        os.close(lock)
        raise
    return lock


def _remove_left(parent: Path) -> None:
    """Remove the folders of groups that have ended without doing so, as after a SIGKILL."""
    for folder in parent.glob(f"{PREFIX}*"):
        try:
            if folder.stat().st_uid == os.getuid() and not folder.is_symlink() and _is_left(folder):
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # gone, or not ours to look at
            continue


def _is_left(folder: Path) -> bool:
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return time.time() - folder.stat().st_mtime > _YOUNG_S
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True
