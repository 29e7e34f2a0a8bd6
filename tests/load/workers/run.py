"""What a request costs with one worker on one core and with two on two, and what workers cost each other.

The load comes from the same machine, so that answers a second say little: the CPU time of the service for each request
says how many it can give, whoever else uses the cores.
"""

from __future__ import annotations

import os
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from tests.load.targets.own_server import own_server
from tests.load.targets.server_process import ServerProcess
from tests.load.workers.closed_loop import ClosedLoop

_SETTINGS = {"UNROLL_DEVICE": "cpu", "UNROLL_LOG_LEVEL": "warning"}


class WorkersPlan(NamedTuple):
    """What is asked, in how many short slices, and for how long each."""

    model: str
    texts: Sequence[str | Sequence[str]]
    slices: int = 20
    seconds: float = 1.0


class Measured(NamedTuple):
    """Low quantiles over the slices, as other programs on the machine only ever add to the time.

    Attributes:
        one_us, two_us: CPU time of a request with one process on one core and with two workers on two, in microseconds.
        connection_one_us, connection_two_us: what a request costs more that brings its connection.
        scrape_ms: CPU time of a scrape of two workers.
        idle_us: CPU time of an idle worker in a second.
    """

    one_us: float
    two_us: float
    connection_one_us: float
    connection_two_us: float
    scrape_ms: float
    idle_us: float

    @property
    def scale(self) -> float:
        """How many times as many requests two workers on two cores can answer."""
        return 2 * self.one_us / self.two_us


def measure_workers(models: Path, scratch: Path, plan: WorkersPlan) -> Measured:
    """Start both services and measure them in turns, with one caller for each worker. Raises StartFailed, OSError."""
    cores = sorted(os.sched_getaffinity(0))[:2]
    with ExitStack() as stack:
        servers = [
            stack.enter_context(_service(models, scratch / f"{count}.log", cores[:count], count)) for count in (1, 2)
        ]
        loops = [
            stack.enter_context(_closing(ClosedLoop(server.port, plan.model, plan.texts, count)))
            for server, count in zip(servers, (1, 2), strict=True)
        ]
        kept = _in_turns(servers, plan, lambda number: loops[number].run(plan.seconds))
        short = _in_turns(servers, plan, lambda number: _short_connections(servers[number].port, plan))
        scrapes = _in_turns(servers[1:], plan, lambda _: _scrapes(servers[1].port))
        idle = _in_turns(servers[1:], plan, lambda _: _nothing(plan.seconds))
    return Measured(
        kept[0], kept[1], short[0] - kept[0], short[1] - kept[1], scrapes[0] / 1000, idle[0] * 1000 / plan.seconds / 2
    )


def _in_turns(servers: Sequence[ServerProcess], plan: WorkersPlan, work: Callable[[int], int]) -> list[float]:
    """For each service the CPU time of each thing that `work` does, by its number."""
    found: list[list[float]] = [[] for _ in servers]
    for _ in range(plan.slices):
        for number, server in enumerate(servers):
            before_s = _cpu_s(server)
            num_done = work(number)
            found[number].append(1e6 * (_cpu_s(server) - before_s) / num_done)
    return [sorted(each)[len(each) // 5] for each in found]


@contextmanager
def _service(models: Path, log: Path, cores: Sequence[int], count: int) -> Iterator[ServerProcess]:
    pinned = ["taskset", "-c", ",".join(map(str, cores))]
    settings = {"UNROLL_WORKERS": str(count), "UNROLL_LANES": str(count), **_SETTINGS}
    with own_server(models, log, settings, pinned) as server:
        yield server


@contextmanager
def _closing(loop: ClosedLoop) -> Iterator[ClosedLoop]:
    try:
        yield loop
    finally:
        loop.close()


def _cpu_s(server: ServerProcess) -> float:
    """CPU time of all threads of the service until now, to the nanosecond."""
    total_ns = 0
    for pid in server.pids():
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):  # it has just ended
                total_ns += int((thread / "schedstat").read_text(encoding="ascii").split()[0])
    return total_ns / 1e9


def _nothing(seconds: float) -> int:
    time.sleep(seconds)
    return 1000  # so that the time of it is in milliseconds


def _short_connections(port: int, plan: WorkersPlan) -> int:
    """Requests with a connection each."""
    num_done, end_s = 0, time.monotonic() + plan.seconds
    while time.monotonic() < end_s:
        loop = ClosedLoop(port, plan.model, plan.texts, 1)
        num_done += loop.run(0.0)
        loop.close()
    return num_done


def _scrapes(port: int, times: int = 3) -> int:
    for _ in range(times):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
            answer.read()
    return times
