"""What a request costs with one worker on one core and with two on two, and what workers cost each other.

The load comes from the same machine, so that answers a second say little: the CPU time of the service for each request
says how many it can give, whoever else uses the cores.
"""

from __future__ import annotations

import os
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tests.load.targets.own_server import own_server
from tests.load.targets.server_process import ServerProcess
from tests.load.workers.closed_loop import ClosedLoop

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
_SETTINGS = {"UNROLL_DEVICE": "cpu", "UNROLL_LOG_LEVEL": "warning"}
_CALLERS_A_WORKER = 32


class WorkersPlan(NamedTuple):
    """What is asked, and for how long each part is measured."""

    model: str
    texts: Sequence[str]
    rounds: int = 5
    seconds: float = 4.0


class Measured(NamedTuple):
    """Medians over the rounds.

    Attributes:
        one_us, two_us: CPU time of a request with one worker and with two, in microseconds.
        scale: how many times as many requests two workers on two cores can answer.
        connection_us: what a request costs more that brings its connection, with two workers.
        scrape_ms: CPU time of all of a scrape with two workers.
        idle_us: CPU time of an idle worker in a second.
        spread: connections of each worker of two, after four were opened one after the other.
    """

    one_us: float
    two_us: float
    scale: float
    connection_us: float
    scrape_ms: float
    idle_us: float
    spread: list[int]


def measure_workers(models: Path, scratch: Path, plan: WorkersPlan) -> Measured:
    """Start both services and measure them in turns. Raises StartFailed, OSError."""
    cores = sorted(os.sched_getaffinity(0))[:2]
    with ExitStack() as stack:
        one = stack.enter_context(_service(models, scratch / "one.log", cores[:1], 1))
        two = stack.enter_context(_service(models, scratch / "two.log", cores, 2))
        loops = [
            stack.enter_context(_closing(ClosedLoop(server.port, plan.model, plan.texts, _CALLERS_A_WORKER * count)))
            for server, count in ((one, 1), (two, 2))
        ]
        for loop in loops:
            loop.run(plan.seconds / 2)
        costs: list[tuple[float, float]] = []
        for _ in range(plan.rounds):
            found = [
                _cpu_us_each(server, lambda loop=loop: loop.run(plan.seconds))  # type: ignore[misc]
                for server, loop in zip((one, two), loops, strict=True)
            ]
            costs.append((found[0], found[1]))
        return _measured(costs, two, plan)


def _measured(costs: Sequence[tuple[float, float]], two: ServerProcess, plan: WorkersPlan) -> Measured:
    one_us, two_us = (median(cost) for cost in zip(*costs, strict=True))
    short = [_cpu_us_each(two, lambda: _short_connections(two.port, plan)) for _ in range(plan.rounds)]
    kept = [_cpu_us_each(two, lambda: _one_caller(two.port, plan)) for _ in range(plan.rounds)]
    scrapes = [_cpu_us_each(two, lambda: _scrapes(two.port)) for _ in range(plan.rounds)]
    before_s, since_s = _cpu_s(two), time.monotonic()
    time.sleep(plan.seconds)
    idle_us = 1e6 * (_cpu_s(two) - before_s) / (time.monotonic() - since_s) / 2
    scale = median(2 * one / other for one, other in costs)
    connection_us = median(short) - median(kept)
    return Measured(one_us, two_us, scale, connection_us, median(scrapes) / 1000, idle_us, _spread(two))


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


def _cpu_us_each(server: ServerProcess, work: Callable[[], int]) -> float:
    """CPU time of the service for each of the things that `work` does and counts, in microseconds."""
    before_s = _cpu_s(server)
    num_done = work()
    return 1e6 * (_cpu_s(server) - before_s) / num_done


def _cpu_s(server: ServerProcess) -> float:
    """CPU time of all processes of the service until now."""
    total = 0
    for pid in server.pids():
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS_A_SECOND


def _one_caller(port: int, plan: WorkersPlan) -> int:
    loop = ClosedLoop(port, plan.model, plan.texts, 1)
    try:
        return loop.run(plan.seconds / 2)
    finally:
        loop.close()


def _short_connections(port: int, plan: WorkersPlan) -> int:
    """Requests with a connection each."""
    num_done, end_s = 0, time.monotonic() + plan.seconds / 2
    while time.monotonic() < end_s:
        loop = ClosedLoop(port, plan.model, plan.texts, 1)
        num_done += loop.run(0.0)
        loop.close()
    return num_done


def _scrapes(port: int, times: int = 10) -> int:
    for _ in range(times):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
            answer.read()
    return times


def _spread(server: ServerProcess) -> list[int]:
    """Open connections of each worker, without those of the measurement before: of four new ones."""
    workers = [pid for pid in server.pids() if pid != server.pid]
    before = [_num_sockets(pid) for pid in workers]
    loop = ClosedLoop(server.port, "", [""], 4)
    time.sleep(1.0)
    after = [_num_sockets(pid) for pid in workers]
    loop.close()
    return [now - then for now, then in zip(after, before, strict=True)]


def _num_sockets(pid: int) -> int:
    return sum(str(file.readlink()).startswith("socket:") for file in Path(f"/proc/{pid}/fd").iterdir())
