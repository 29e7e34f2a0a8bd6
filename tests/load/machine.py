"""The machine: its facts, the cores of a measurement, and CPU time used by others. Reads /proc: Linux only."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from tests.load.places import ROOT

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
#: Fields of the cpu lines of /proc/stat that count as busy: user, nice, system, irq, softirq.
_WORK_FIELDS = (1, 2, 3, 6, 7)


class Cores(NamedTuple):
    """Cores of server and client. Pinned: one core each. Shared: both cores for both."""

    server: tuple[int, ...]
    client: tuple[int, ...]


def cores(setting: str) -> Cores:
    """Return the cores of `pinned` or `shared`. Raises RuntimeError on a machine with a single core."""
    usable = sorted(os.sched_getaffinity(0))[:2]
    if len(usable) < 2:
        raise RuntimeError("the benchmark needs two cores: one for the server, one for the client")
    first, second = usable
    return Cores((first,), (second,)) if setting == "pinned" else Cores((first, second), (first, second))


def on(where: tuple[int, ...], command: list[str]) -> list[str]:
    """Return the command pinned to these cores, child processes included."""
    return ["taskset", "-c", ",".join(map(str, where)), *command]


def busy_s(where: tuple[int, ...]) -> float:
    """Busy CPU seconds of these cores since the machine started, over all processes."""
    lines = [line.split() for line in Path("/proc/stat").read_text(encoding="ascii").splitlines()]
    by_core = {fields[0]: fields for fields in lines}
    return sum(int(by_core[f"cpu{core}"][field]) for core in where for field in _WORK_FIELDS) / _TICKS_PER_S


def cpu_s(pids: list[int]) -> float:
    """CPU seconds that these processes have used so far."""
    return sum(_used_ticks(pid) for pid in pids) / _TICKS_PER_S


def _used_ticks(pid: int) -> int:
    fields = process_fields(pid)
    return int(fields[11]) + int(fields[12]) if fields else 0


def process_fields(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat after the command's name: state, parent, ...; empty if it has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return text.rsplit(")", 1)[1].split()


def memory_mb(pids: list[int]) -> float:
    """Proportional set size (PSS) of these processes together."""
    return sum(_proportional_kb(pid) for pid in pids) / 1024


def _proportional_kb(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def facts() -> dict[str, str]:
    """Return the machine facts reported with every figure."""
    cpu = [line for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if ":" in line]
    fields = {name.strip(): value.strip() for name, value in (line.split(":", 1) for line in cpu)}
    flags = set(fields.get("flags", "").split())
    notable = [flag for flag in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16") if flag in flags]
    return {
        "processor": f"{fields.get('model name', platform.machine())}, {os.cpu_count()} cores",
        "instructions": ", ".join(notable),
        "python": platform.python_version(),
        **{name: version(name) for name in ("onnxruntime", "fastapi", "uvicorn", "numpy")},
        "commit": _commit(),
    }


def _commit() -> str:
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, timeout=20, check=False
    )
    return found.stdout.strip() or "unknown"
