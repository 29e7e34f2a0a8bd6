"""A memory limit for one server, as a container has it: a memory control group of its own (cgroup v1 or v2)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_V1 = Path("/sys/fs/cgroup/memory")
_V2 = Path("/sys/fs/cgroup")
#: Moves the shell into the group and becomes the server.
_ENTER = 'echo $$ > "$0" && exec "$@"'


@contextmanager
def memory_limit(limit_bytes: int) -> Iterator[list[str]]:
    """The beginning of a command that runs within the limit; empty where no group can be made, such as without root."""
    try:
        group, limit = _make_group()
    except OSError:
        yield []
        return
    try:
        (group / limit).write_text(str(limit_bytes), encoding="ascii")
        yield ["sh", "-c", _ENTER, str(group / "cgroup.procs")]
    finally:
        with contextlib.suppress(OSError):  # a process that is being killed is still in it
            group.rmdir()


def _make_group() -> tuple[Path, str]:
    """The folder of a new group, and the name of the file with its limit. Raises OSError."""
    parent, limit = (_V2, "memory.max") if (_V2 / "cgroup.controllers").exists() else (_V1, "memory.limit_in_bytes")
    group = parent / f"unroll-abuse-{os.getpid()}"
    group.mkdir()
    if not (group / limit).exists():
        group.rmdir()
        raise OSError(f"{parent} limits no memory")
    return group, limit
