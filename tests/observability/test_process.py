"""Process metrics from the operating system: cgroup v1 and v2 limits, throttling, process age, GPUs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from service.observability.process import (
    ContainerCollector,
    GpuCollector,
    cpu_throttled_s,
    memory_limit_bytes,
    process_age_s,
)


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="ascii")


def test_the_memory_limit_of_both_kinds_of_cgroups_is_found(tmp_path: Path) -> None:
    write(tmp_path / "v2" / "memory.max", "536870912\n")
    write(tmp_path / "v1" / "memory" / "memory.limit_in_bytes", "268435456\n")
    assert memory_limit_bytes(tmp_path / "v2") == 536870912
    assert memory_limit_bytes(tmp_path / "v1") == 268435456


@pytest.mark.parametrize(("file", "text"), [("memory.max", "max"), ("memory/memory.limit_in_bytes", str(2**63 - 4096))])
def test_without_a_limit_the_memory_of_the_machine_counts(tmp_path: Path, file: str, text: str) -> None:
    write(tmp_path / "cgroup" / file, text)
    write(tmp_path / "proc" / "meminfo", "MemTotal:       2048 kB\nMemFree: 5 kB\n")
    assert memory_limit_bytes(tmp_path / "cgroup", tmp_path / "proc") == 2048 * 1024


def test_throttled_time_is_told_in_seconds_by_both_kinds_of_cgroups(tmp_path: Path) -> None:
    write(tmp_path / "v2" / "cpu.stat", "usage_usec 9\nnr_throttled 3\nthrottled_usec 2500000\n")
    write(tmp_path / "v1" / "cpu" / "cpu.stat", "nr_periods 4\nthrottled_time 1500000000\n")
    assert cpu_throttled_s(tmp_path / "v2") == pytest.approx(2.5)
    assert cpu_throttled_s(tmp_path / "v1") == pytest.approx(1.5)


def test_what_the_kernel_does_not_say_is_no_metric(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    registry.register(ContainerCollector(tmp_path / "nowhere"))
    assert registry.get_sample_value("unroll_cpu_throttled_seconds_total") is None


def test_the_age_of_a_process_is_counted_from_its_start_in_ticks(tmp_path: Path) -> None:
    """The process age is computed from the start time in ticks, also with brackets and spaces in the program's name."""
    started_at_boot = "1 (a) b) S " + " ".join(["0"] * 40)
    write(tmp_path / "self" / "stat", started_at_boot)
    assert process_age_s(tmp_path) > process_age_s() > 0.0
    assert process_age_s(tmp_path / "nowhere") > 0.0


class FakeNvml:
    """Two GPUs, of which the second can be made to fail."""

    class NVMLError(Exception):
        """Stands for NVML's exception."""

    def __init__(self, second_is_lost: bool = False) -> None:
        self._second_is_lost = second_is_lost

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, number: int) -> int:
        if number and self._second_is_lost:
            raise self.NVMLError
        return number

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:
        return SimpleNamespace(used=100 + handle, total=1000)

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:
        return SimpleNamespace(gpu=25)


@pytest.mark.parametrize(("second_is_lost", "second_used"), [(False, 101.0), (True, None)])
def test_each_gpu_has_its_series_and_a_lost_one_costs_only_its_own(
    second_is_lost: bool, second_used: float | None
) -> None:
    registry = CollectorRegistry()
    registry.register(GpuCollector(FakeNvml(second_is_lost)))
    assert registry.get_sample_value("unroll_gpu_utilization_ratio", {"gpu": "0"}) == 0.25
    assert registry.get_sample_value("unroll_gpu_memory_used_bytes", {"gpu": "0"}) == 100.0
    assert registry.get_sample_value("unroll_gpu_memory_used_bytes", {"gpu": "1"}) == second_used
