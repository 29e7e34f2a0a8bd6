"""Measurements: a load on a server, or a bare run. Both check for other processes on the same cores."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from tests.load.machine import busy_s, cores, cpu_s, memory_mb, on
from tests.load.measurement.scenario import Case, Subject
from tests.load.places import ROOT
from tests.load.targets.environments import python_of

#: CPU use of other processes, in cores, up to which a measurement is undisturbed.
QUIET_CORES = {"pinned": 0.10, "shared": 0.25}
_QUIET_LIMIT_S = 10.0


def closed_loop(connections: int, name: str = "") -> Case:
    """A closed-loop load with a number of concurrent callers."""
    return Case(name or f"c = {connections}", lambda subject: load(subject, connections=connections))


def bare(name: str, kind: str, environment: str = "", **wanted: Any) -> Case:
    """A bare run of the limit; `limits` documents the options of each kind."""

    def measure(subject: Subject) -> dict[str, Any]:
        spec = {"kind": kind, "seconds": subject.options.seconds / 2, **wanted}
        python = str(python_of(environment)) if environment else sys.executable
        command = on(cores("pinned").server, [python, "-m", "tests.load.targets.limits", json.dumps(spec)])
        return undisturbed(subject, lambda: _run_json(command, spec["seconds"] + 60))

    return Case(name, measure)


def load(subject: Subject, **wanted: float) -> dict[str, Any]:
    """One load on the subject's server: `connections`, or `rate` per second."""
    plan, process = subject.plan, subject.process
    assert process is not None
    assert plan.target is not None
    times = {"warm_s": subject.options.warm_s, "seconds": subject.options.seconds}
    spec = {"speech": plan.target.speech, "corpus": plan.corpus, "port": process.port, **times, **wanted}
    command = [sys.executable, "-m", "tests.load.client", json.dumps(spec)]

    def once() -> dict[str, Any]:
        figures = _run_json(on(cores(plan.setting).client, command), sum(times.values()) + 60)
        return {**figures, "window_s": subject.options.seconds, "memory_mb": memory_mb(process.pids())}

    return undisturbed(subject, once)


def undisturbed(subject: Subject, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Measure, and retry if other processes used the server's core; `disturbed` is set if the retries fail too."""
    for _ in range(subject.options.tries):
        _wait_for_quiet(subject)
        foreign_s, start_s = _foreign_s(subject), time.perf_counter()
        figures = measure()
        foreign_cores = (_foreign_s(subject) - foreign_s) / (time.perf_counter() - start_s)
        disturbed = foreign_cores > QUIET_CORES[subject.plan.setting]
        if not disturbed:
            break
    return {**figures, "foreign_cores": foreign_cores, "disturbed": disturbed}


def _wait_for_quiet(subject: Subject) -> None:
    """Wait, up to a limit, for half a second in which no other process uses the server's cores."""
    give_up_s = time.monotonic() + _QUIET_LIMIT_S
    while time.monotonic() < give_up_s:
        before_s = _foreign_s(subject)
        time.sleep(0.5)
        if (_foreign_s(subject) - before_s) / 0.5 < QUIET_CORES[subject.plan.setting] + 0.05:
            return


def _foreign_s(subject: Subject) -> float:
    """Return the CPU seconds so far, on the server's cores, of processes other than the server and the benchmark."""
    own = os.times()
    children_s = own.children_user + own.children_system
    shares_cores = subject.plan.setting == "shared" or subject.process is None
    server_s = cpu_s(subject.process.pids()) if subject.process else 0.0
    return busy_s(cores(subject.plan.setting).server) - server_s - (children_s if shares_cores else 0.0)


def _run_json(command: list[str], limit_s: float) -> dict[str, Any]:
    """Return the JSON output of a subprocess. Raises RuntimeError with its other output."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit_s, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1][:250] if done.stderr.strip() else "it said nothing")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
