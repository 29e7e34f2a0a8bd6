"""What the operating system says about this process and its container, for metrics: memory, throttling, age, GPUs."""

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
    """The memory that may be used, and how long the CPU quota held this container back. Absent where unknown."""

    def __init__(self, cgroup: Path = CGROUP) -> None:
        self._cgroup = cgroup

    def collect(self) -> Iterator[Metric]:
        limit_bytes = memory_limit_bytes(self._cgroup)
        if limit_bytes is not None:
            text = "Memory that the container, or else the machine, has."
            yield GaugeMetricFamily("unroll_memory_limit_bytes", text, value=limit_bytes)
        throttled_s = cpu_throttled_s(self._cgroup)
        if throttled_s is not None:
            text = "Time that the container was held back because its CPU quota was used up."
            yield CounterMetricFamily("unroll_cpu_throttled_seconds", text, value=throttled_s)


class GpuCollector(Collector):
    """Every GPU that the driver shows. Make it with `find_gpus`."""

    def __init__(self, nvml: Any) -> None:
        """`nvml` is NVIDIA's own management library, started."""
        self._nvml = nvml

    def collect(self) -> Iterator[Metric]:
        busy = GaugeMetricFamily("unroll_gpu_utilization_ratio", "Share of time the GPU was busy.", labels=["gpu"])
        used = GaugeMetricFamily("unroll_gpu_memory_used_bytes", "GPU memory in use, by anyone.", labels=["gpu"])
        total = GaugeMetricFamily("unroll_gpu_memory_bytes", "GPU memory there is.", labels=["gpu"])
        with suppress(self._nvml.NVMLError):  # a GPU that falls off the bus must not take the scrape with it
            for number in range(self._nvml.nvmlDeviceGetCount()):
                handle = self._nvml.nvmlDeviceGetHandleByIndex(number)
                memory = self._nvml.nvmlDeviceGetMemoryInfo(handle)
                busy.add_metric([str(number)], self._nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100)
                used.add_metric([str(number)], memory.used)
                total.add_metric([str(number)], memory.total)
        yield from (busy, used, total)


def find_gpus() -> GpuCollector | None:
    """A collector where NVIDIA's driver and its Python library are there, else None."""
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
    """The container's limit (cgroup v2 or v1), or the machine's memory where there is none."""
    for file in (cgroup / "memory.max", cgroup / "memory" / "memory.limit_in_bytes"):
        limit = _read(file).strip()
        if limit.isdigit() and int(limit) < _NO_LIMIT_BYTES:
            return int(limit)
    for line in _read(proc / "meminfo").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return None


def cpu_throttled_s(cgroup: Path = CGROUP) -> float | None:
    """How long the container was throttled since it began; None where the kernel does not say."""
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
    """Seconds since this process began; where the kernel does not say, since this module was imported."""
    try:
        # The second field is the program's name in brackets and may hold blanks; the start is the 20th after it.
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
