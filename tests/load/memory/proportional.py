"""Memory of a tree of processes, in which a page that several of them map is counted once: the sum of their PSS."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

PROC = Path("/proc")
_KB = 1024


def proportional_bytes(pids: Iterable[int], proc: Path = PROC) -> int:
    """The proportional set sizes (PSS) of these processes together, without those that have ended."""
    return sum(_rolled_up(pid, proc)["Pss"] for pid in pids)


def parts_of(pid: int, proc: Path = PROC) -> Counter[str]:
    """The PSS of one process by what it is: heap, anonymous, code and data of libraries by name, mapped weights."""
    parts: Counter[str] = Counter()
    part = ""
    for line in (proc / str(pid) / "smaps").read_text(encoding="utf-8", errors="replace").splitlines():
        words = line.split(maxsplit=5)
        if not words[0].endswith(":"):
            part = _name(words[5] if len(words) > 5 else "")
        elif words[0] == "Pss:":
            parts[part] += int(words[1]) * _KB
    return parts


def _name(mapping: str) -> str:
    if not mapping or mapping.startswith("[anon"):
        return "anonymous"
    return mapping if mapping.startswith("[") else Path(mapping).name


def _rolled_up(pid: int, proc: Path) -> Counter[str]:
    found: Counter[str] = Counter()
    try:
        text = (proc / str(pid) / "smaps_rollup").read_text(encoding="ascii")
    except OSError:  # it has ended
        return found
    for line in text.splitlines()[1:]:
        name, _, value = line.partition(":")
        found[name] = int(value.split()[0]) * _KB
    return found
