"""The cost of a request of the shipped bundles, one core: the service beside its bare graphs, on the same texts.

    python -m tests.load.request_cost [--rounds 3] [--seconds 4] [--tree OTHER ...]

The server runs on one core and the callers on another, in turns with the bare runs on the server's core. `--tree` adds
the service of another checkout, which takes turns with this one. Use it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from tests.load.machine import cores, cpu_s, on
from tests.load.places import ROOT
from tests.load.request_cost.callers import LIVE, Answered, load, predictions
from tests.load.request_cost.texts import ROWS
from tests.load.targets.own_server import wait_until_ready
from tests.load.targets.server_process import ServerProcess
from tests.ports import free_port

NUM_CALLERS = 64
#: One caller is measured on the first row.
_ALONE_ROW = next(iter(ROWS))
Measured = dict[tuple[str, str], list[float]]


def main() -> None:
    """Measure in rounds, and print a table after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--row", action="append", choices=ROWS, help="rows to measure, default all; repeatable")
    parser.add_argument("--tree", action="append", default=[], type=Path, help="another checkout; repeatable")
    asked = parser.parse_args()
    os.sched_setaffinity(0, cores("pinned").client)
    measured: Measured = defaultdict(list)
    with ExitStack() as stack:
        servers = {str(tree): stack.enter_context(_server(tree.resolve())) for tree in [ROOT, *asked.tree]}
        for number in range(asked.rounds):
            for row in asked.row or ROWS:
                _measure(row, servers, asked.seconds, measured)
            print(f"\nafter round {number + 1}, medians:", *_lines(measured, list(servers)), sep="\n", flush=True)


def _measure(row: str, servers: dict[str, ServerProcess], seconds: float, measured: Measured) -> None:
    bare = _bare(row, seconds)
    measured[row, "bare"].append(bare["rate"])
    measured[row, "bare alone us"].append(bare["alone_us"])
    model, texts = ROWS[row]
    requests = predictions(model, texts())
    for name, server in servers.items():
        before_s = cpu_s([server.pid])
        busy = load(server.port, requests, NUM_CALLERS, seconds, warm_s=0.5)
        _require_answers(busy)
        measured[row, name].append(busy.rate)
        measured[row, f"{name} ratio"].append(busy.rate / bare["rate"])
        cpu_us = 1e6 * (cpu_s([server.pid]) - before_s) / (busy.rate * (seconds + 0.5))
        measured[row, f"{name} cpu us"].append(cpu_us)
        if row == _ALONE_ROW:
            alone, floor = load(server.port, requests, 1, seconds / 2), load(server.port, [LIVE], 1, seconds / 2)
            _require_answers(alone)
            measured[row, f"{name} alone us"].append(1000 * alone.p50_ms)
            measured[row, f"{name} floor us"].append(1000 * floor.p50_ms)


def _require_answers(answered: Answered) -> None:
    if answered.num_errors:
        raise RuntimeError(f"{answered.num_errors} requests were refused")


def _bare(row: str, seconds: float) -> dict[str, float]:
    """On the core of the server."""
    command = [sys.executable, "-m", "tests.load.request_cost.bare", str(ROOT / "models"), row, str(seconds / 2)]
    done = subprocess.run(on(cores_of_server(), command), cwd=ROOT, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def cores_of_server() -> tuple[int, ...]:
    """The first core that this process could use when it started."""
    return (0,)


@contextmanager
def _server(tree: Path) -> Iterator[ServerProcess]:
    """The service of a checkout with the shipped bundles, on one core, with its access log."""
    port = free_port()
    command = [sys.executable, "-m", "service", "serve", "--port", str(port), "--models", str(ROOT / "models")]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("UNROLL_", "OTEL_"))}
    environ = kept | {"OMP_NUM_THREADS": "1", "ORT_DISABLE_TELEMETRY": "1", "PYTHONPATH": str(tree)}
    process = ServerProcess(on(cores_of_server(), command), environ, tree, port, Path(os.devnull))
    try:
        wait_until_ready(process)
        yield process
    finally:
        process.stop()


def _lines(measured: Measured, names: list[str]) -> Iterator[str]:
    """The table, in Markdown."""
    yield "| row | tree | service | bare | ratio | CPU of a request |"
    yield "|---|---|---|---|---|---|"
    found = {key: median(values) for key, values in measured.items()}
    for row in dict.fromkeys(row for row, _ in measured):
        for name in names:
            rate, bare, ratio, cpu_us = (found[row, key] for key in (name, "bare", f"{name} ratio", f"{name} cpu us"))
            yield f"| {row} | {name} | {rate:,.0f} | {bare:,.0f} | **{ratio:.3f}** | {cpu_us:.0f} µs |"
    for name in names:
        if (_ALONE_ROW, f"{name} alone us") in found:
            alone, floor, run = (
                found[_ALONE_ROW, key] for key in (f"{name} alone us", f"{name} floor us", "bare alone us")
            )
            yield (
                f"{name}: one caller p50 {alone:.0f} µs; bare run {run:.0f}, GET /health/live {floor:.0f}; "
                f"over both {alone - run - floor:.0f}, over the bare run {alone - run:.0f}"
            )


if __name__ == "__main__":
    main()
