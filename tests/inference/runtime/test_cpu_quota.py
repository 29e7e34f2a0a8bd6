"""The number of usable cores follows the container's CPU quota, not the host."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from service.inference.runtime import cpu_quota
from service.inference.runtime.cpu_quota import cgroup_quota_cores, usable_cores


@pytest.mark.parametrize(
    ("content", "cores"),
    [("200000 100000\n", 2.0), ("150000 100000", 1.5), ("max 100000", None), ("", None), ("something else", None)],
)
def test_version_2_quota(tmp_path: Path, content: str, cores: float | None) -> None:
    (tmp_path / "cpu.max").write_text(content, encoding="ascii")
    assert cgroup_quota_cores(tmp_path / "cpu.max", tmp_path / "none", tmp_path / "none") == cores


@pytest.mark.parametrize(("quota", "cores"), [("50000", 0.5), ("-1", None)])
def test_version_1_quota(tmp_path: Path, quota: str, cores: float | None) -> None:
    (tmp_path / "quota").write_text(quota, encoding="ascii")
    (tmp_path / "period").write_text("100000\n", encoding="ascii")
    assert cgroup_quota_cores(tmp_path / "none", tmp_path / "quota", tmp_path / "period") == cores


@pytest.mark.parametrize(("quota", "cores"), [(None, 4), (2.9, 2), (0.5, 1), (64.0, 4)])
def test_the_smaller_of_quota_and_affinity_counts(
    monkeypatch: pytest.MonkeyPatch, quota: float | None, cores: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(cpu_quota, "cgroup_quota_cores", lambda: quota)
    assert usable_cores() == cores
