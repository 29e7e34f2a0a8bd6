"""Metrics of this process and its container from the operating system: memory, CPU throttling, age, GPUs."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

CGROUP = Path("/sys/fs/cgroup")
PROC = Path("/proc")

_IMPORTED_S = time.monotonic()
#: cgroup v1 writes "no limit" as a number beyond any memory.
_NO_LIMIT_BYTES = 2**60


class ContainerCollector(Collector):
    """Memory limit and CPU throttling of the container. Absent where unknown."""

    def __init__(self, cgroup: Path = CGROUP) -> None:
        self._cgroup = cgroup

    def collect(self) -> Iterator[Metric]:
        limit_bytes = memory_limit_bytes(self._cgroup)
        if limit_bytes is not None:
            text = "Memory limit of the container, or memory of the machine, in bytes."
            yield GaugeMetricFamily("unroll_memory_limit_bytes", text, value=limit_bytes)
        throttled_s = cpu_throttled_s(self._cgroup)
        if throttled_s is not None:
            text = "Time that the container was throttled by its CPU quota, in seconds."
            yield CounterMetricFamily("unroll_cpu_throttled_seconds", text, value=throttled_s)


class GpuCollector(Collector):
    """Utilisation and memory of all GPUs. Create it with `find_gpus`."""

    def __init__(self, nvml: Any) -> None:
        """`nvml` is NVIDIA's management library, initialised."""
        self._nvml = nvml

    def collect(self) -> Iterator[Metric]:
        busy = GaugeMetricFamily("unroll_gpu_utilization_ratio", "GPU utilisation, from 0 to 1.", labels=["gpu"])
        used = GaugeMetricFamily(
            "unroll_gpu_memory_used_bytes", "GPU memory used by all processes, in bytes.", labels=["gpu"]
        )
        total = GaugeMetricFamily("unroll_gpu_memory_bytes", "Total GPU memory in bytes.", labels=["gpu"])
        with suppress(self._nvml.NVMLError):  # a lost GPU must not fail the scrape
            for number in range(self._nvml.nvmlDeviceGetCount()):
                handle = self._nvml.nvmlDeviceGetHandleByIndex(number)
                memory = self._nvml.nvmlDeviceGetMemoryInfo(handle)
                busy.add_metric([str(number)], self._nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100)
                used.add_metric([str(number)], memory.used)
                total.add_metric([str(number)], memory.total)
        yield from (busy, used, total)


def find_gpus() -> GpuCollector | None:
    """A collector if NVIDIA's driver and its Python library are installed, else None."""
    try:
        import pynvml
    except ModuleNotFoundError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return GpuCollector(pynvml)


def memory_limit_bytes(cgroup: Path = CGROUP, proc: Path = PROC) -> int | None:
    """The container's limit (cgroup v2 or v1), or the machine's memory if there is none."""
    for file in (cgroup / "memory.max", cgroup / "memory" / "memory.limit_in_bytes"):
        limit = _read(file).strip()
        if limit.isdigit() and int(limit) < _NO_LIMIT_BYTES:
            return int(limit)
    for line in _read(proc / "meminfo").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return None


def proportional_memory_bytes(proc: Path = PROC) -> int | None:
    """Memory of this process with its part of the pages that it shares (PSS); None where that is not reported."""
    for line in _read(proc / "self" / "smaps_rollup").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return None


def cpu_throttled_s(cgroup: Path = CGROUP) -> float | None:
    """Total throttled time of the container in seconds; None if the kernel does not report it."""
    for file, key, unit_s in (
        (cgroup / "cpu.stat", "throttled_usec", 1e-6),
        (cgroup / "cpu" / "cpu.stat", "throttled_time", 1e-9),
    ):
        for line in _read(file).splitlines():
            name, _, value = line.partition(" ")
            if name == key and value.strip().isdigit():
                return int(value) * unit_s
    return None


def process_age_s(proc: Path = PROC) -> float:
    """Age of this process in seconds; if the kernel does not report it, since this module was imported."""
    try:
        # The second field is the program's name in brackets, maybe with spaces; the start time is the 20th after it.
        fields = _read(proc / "self" / "stat").rpartition(")")[2].split()
        started_s = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return time.clock_gettime(time.CLOCK_BOOTTIME) - started_s
    except (IndexError, ValueError, AttributeError, OSError):
        return time.monotonic() - _IMPORTED_S


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return ""
