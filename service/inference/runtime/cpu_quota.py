"""The number of CPU cores that this process may use: the container's quota, not the host's count."""

from __future__ import annotations

import os
from pathlib import Path

CGROUP_V2_QUOTA = Path("/sys/fs/cgroup/cpu.max")
CGROUP_V1_QUOTA = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")
CGROUP_V1_PERIOD = Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us")


def usable_cores() -> int:
    """Whole cores, at least 1: the smaller of the affinity mask and the cgroup quota (rounded down)."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroup_quota_cores()
    return max(1, affinity if quota is None else min(affinity, int(quota)))


def cgroup_quota_cores(
    v2_quota: Path = CGROUP_V2_QUOTA, v1_quota: Path = CGROUP_V1_QUOTA, v1_period: Path = CGROUP_V1_PERIOD
) -> float | None:
    """The CPU quota in cores (1.5 means one and a half), or None where there is no limit or no cgroup."""
    fields = _words(v2_quota) or [*_words(v1_quota), *_words(v1_period)]
    try:
        quota_us, period_us = (int(field) for field in fields)
    except ValueError:  # "max 100000", an empty list, or a format that is not known here
        return None
    return quota_us / period_us if quota_us > 0 and period_us > 0 else None


def _words(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="ascii").split()
    except OSError:
        return []
