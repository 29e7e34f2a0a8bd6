"""Start the service with one worker, then with more, and read the memory of its processes when they are idle."""

from __future__ import annotations

import re
import shutil
import signal
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.load.memory.proportional import parts_of, proportional_bytes
from tests.load.targets.own_server import own_server
from tests.load.targets.server_process import ServerProcess, StartFailed
from tests.tiny_bundles import write_tiny_bundle

#: After the last bundle is ready: memory is returned and the garbage of the start collected.
_SETTLE_S = 3.0
_RELOAD_S = 120.0
#: Longer than replaced bundles stay open for requests that have found them.
_RETIRED_S = 10.0
_RELOADS = re.compile(r'^unroll_reloads_total\{outcome="ok"\} (\S+)', re.MULTILINE)
_MB = 1024 * 1024


@dataclass(frozen=True)
class Memory:
    """Memory of a service in MB (2^20 bytes), its supervisor included.

    `reloaded_mb` is the memory after all bundles were opened anew; 0 where that was not asked for. `parts_mb` are those
    of the largest process.
    """

    workers: int
    total_mb: float
    reloaded_mb: float
    parts_mb: dict[str, float]


def measure(models: Path, workers: Sequence[int], reload: bool, log: Path) -> Iterator[Memory]:
    """The memory of a service of these models with each of these numbers of workers. Raises StartFailed."""
    for count in workers:
        with TemporaryDirectory() as folder:
            copied = Path(folder) / "models"
            shutil.copytree(models, copied)
            with own_server(copied, log, {"UNROLL_WORKERS": str(count), "UNROLL_DEVICE": "cpu"}) as server:
                time.sleep(_SETTLE_S)
                total, parts = proportional_bytes(server.pids()), parts_of(max(server.pids(), key=_alone))
                reloaded = _after_reload(server, copied, count) if reload else 0
            largest = {name: size / _MB for name, size in parts.most_common(6)}
            yield Memory(count, total / _MB, reloaded / _MB, largest)


def measure_bundles(numbers: Sequence[int], log: Path) -> Iterator[tuple[int, float]]:
    """The memory in MB of one process with so many tiny classifiers: what a bundle costs beside its weights."""
    with TemporaryDirectory() as folder:
        models = Path(folder) / "models"
        num_written = 0
        for number in sorted(numbers):
            for index in range(num_written, number):
                write_tiny_bundle(models, "classification", name=f"tiny-{index}", seed=index)
            num_written = number
            with own_server(models, log, {"UNROLL_DEVICE": "cpu"}) as server:
                time.sleep(_SETTLE_S)
                yield number, proportional_bytes(server.pids()) / _MB


def _after_reload(server: ServerProcess, models: Path, count: int) -> int:
    """The memory after every worker has opened every bundle again."""
    for file in models.glob("*/*/manifest.json"):
        file.touch()
    server.send_signal(signal.SIGHUP)
    give_up_s = time.monotonic() + _RELOAD_S
    while _num_reloads(server) < count:
        if time.monotonic() > give_up_s:
            raise StartFailed("the bundles were not loaded again")
        time.sleep(0.5)
    time.sleep(_RETIRED_S)
    return proportional_bytes(server.pids())


def _num_reloads(server: ServerProcess) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=30) as answer:
        found = _RELOADS.search(answer.read().decode())
    return float(found[1]) if found else 0.0


def _alone(pid: int) -> int:
    return proportional_bytes([pid])
