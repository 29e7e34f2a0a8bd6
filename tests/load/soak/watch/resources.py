"""Resident memory, open files and threads of the server, from /proc, and whether they grow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

#: Parts of the time after the warm-up; the first and the last are compared by their medians.
_NUM_WINDOWS = 5
_KB_PER_MB = 1024


@dataclass(frozen=True)
class Sample:
    """One look at a process; `at_s` counts from the start of the load."""

    at_s: float
    resident_mb: float
    files: int
    threads: int


@dataclass(frozen=True)
class Growth:
    """A figure at the end of the warm-up and at the end of the soak: medians of windows of equal length."""

    first: float
    last: float

    @property
    def share(self) -> float:
        return self.last / self.first - 1


def look_at(pid: int, at_s: float) -> Sample | None:
    """A sample of this process; None if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
        files = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    if "VmRSS" not in fields:  # ended, and its parent has not asked for its status yet
        return None
    return Sample(at_s, int(fields["VmRSS"].split()[0]) / _KB_PER_MB, files, int(fields["Threads"]))


def growth(samples: Sequence[Sample], warm_up_s: float, figure: str) -> Growth | None:
    """How one figure changed since the warm-up; None unless both windows have samples."""
    later = [sample for sample in samples if sample.at_s >= warm_up_s]
    if not later:
        return None
    window_s = (later[-1].at_s - warm_up_s) / _NUM_WINDOWS
    first = [getattr(sample, figure) for sample in later if sample.at_s < warm_up_s + window_s]
    last = [getattr(sample, figure) for sample in later if sample.at_s > later[-1].at_s - window_s]
    return Growth(median(first), median(last)) if first and last else None
