"""Lock of a run folder: one process at a time trains in it.

The operating system holds the lock (`flock`) for as long as the process lives, so that a killed process leaves none.
Where a file system has no locks, the process that is written into the file decides, if it runs on this machine.
"""

from __future__ import annotations

import errno
import json
import os
import shlex
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from service.errors import UnrollError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK_FILE: Final = ".lock"
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_HELD: Final = frozenset({errno.EAGAIN, errno.EACCES})


class RunBusy(UnrollError):
    """Another process trains in the folder."""


@contextmanager
def locked_run(path: Path) -> Iterator[None]:
    """Hold the run folder `path`, which is created if it is missing.

    Raises:
        RunBusy: another process holds it; says which, and what can be done.
    """
    path.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        _take(descriptor, path)
        _write(descriptor, json.dumps(this_process()))
        try:
            yield
        finally:
            _write(descriptor, "")
    finally:
        os.close(descriptor)


def check_free(path: Path) -> None:
    """Raises RunBusy where another process holds the run folder `path`; changes nothing."""
    try:
        descriptor = os.open(path / LOCK_FILE, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return
    try:
        _take(descriptor, path)
    finally:
        os.close(descriptor)


def _take(descriptor: int, path: Path) -> None:
    holder = _written(descriptor)
    if fcntl is not None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _HELD:
                raise RunBusy(_busy(path, holder)) from error
        else:
            return
    if still_runs(holder):
        raise RunBusy(_busy(path, holder))


def _written(descriptor: int) -> dict[str, Any]:
    """What the last holder wrote; empty if there was none, or if it has let go."""
    try:
        found = json.loads(os.pread(descriptor, 4096, 0))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _write(descriptor: int, text: str) -> None:
    """Say who holds the lock. On a full disk the lock holds all the same."""
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode(), 0)
    except OSError:
        pass


def this_process() -> dict[str, Any]:
    """This process, as lock files and trials of a search name their holder."""
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "boot": _boot_id(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["unroll", *sys.argv[1:]])[:300],
    }


def runs_here(holder: dict[str, Any]) -> bool:
    """Whether the holder is, or was, a process of this machine since it was started."""
    return holder.get("host") == socket.gethostname() and holder.get("boot") == _boot_id()


def still_runs(holder: dict[str, Any]) -> bool:
    """Whether the holder is another living process of this machine. Those of other machines are not known about."""
    if not runs_here(holder):
        return False
    pid = holder.get("pid")
    if not isinstance(pid, int) or pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _busy(path: Path, holder: dict[str, Any]) -> str:
    pid, here = holder.get("pid"), holder.get("host") == socket.gethostname()
    who = f"process {pid}" + ("" if here else f" on {holder.get('host')}") if pid else "another process"
    what = f" (`{holder['command']}`, since {holder['since']})" if {"command", "since"} <= holder.keys() else ""
    stop = f"stop it with `kill {pid}`, which saves it" if pid and here else "stop it there"
    return f"{path} is in use by {who}{what}: wait for its end, {stop}, or train under another --name"
