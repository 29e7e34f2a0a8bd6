"""The service beside Triton's own server: one model, one client (`tritonclient`), sentences of 3 to 128 words.

Both run the same ONNX file on the CPU with one thread, pinned to one core; the client has the other one. In each round
both are measured under every load, in turn, and ratios are those of rounds, so that other work falls on both.
"""

from __future__ import annotations

import json
import statistics
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from service.cli.bench.comparison import Ratio, paired_ratio
from tests.load.machine import cores, cpu_s, on
from tests.load.places import CORPORA, LOAD, TAGGER
from tests.load.targets.catalogue import Target, service, start, triton
from tests.load.targets.environments import python_of
from tests.load.targets.server_process import ServerProcess

CORPUS = "sentences-mixed"
CONNECTIONS = (1, 16, 64)
#: Forms of Triton that were tried; the best of the first three is what a user reaches by its documentation.
FORMS = (triton(4, 0), triton(8, 0), triton(32, 0), triton(64, 0, group=8))
UNROLL = service()
_CLIENT = LOAD / "beside_triton" / "client.py"

Figures = Mapping[str, Any]


@dataclass(frozen=True)
class Extent:
    """How long it takes: rounds, and seconds of each measurement."""

    rounds: int = 3
    seconds: float = 3.0
    warm_s: float = 0.5
    protocol: str = "http"


@dataclass(frozen=True)
class Row:
    """One server under one load: medians over the rounds; the ratio is that of the service to this server."""

    target: str
    connections: int
    rate: float
    p50_ms: float
    p99_ms: float
    server_ms: float
    wrong: int
    errors: int
    ratio: Ratio | None


def compare(
    forms: Sequence[Target], connections: Sequence[int], extent: Extent, tell: Callable[[str], None]
) -> list[Row]:
    """Measure the service and these forms of Triton; all of them stay up, and only one is asked at a time."""
    targets = (UNROLL, *forms)
    found: dict[tuple[str, int], list[Figures]] = {}
    with _running(targets, extent.protocol) as servers:
        for number in range(extent.rounds):
            for callers in connections:
                in_turn = list(zip(targets, servers, strict=True))
                for target, server in in_turn if number % 2 == 0 else reversed(in_turn):
                    figures = measure(target, server, callers, extent)
                    found.setdefault((target.name, callers), []).append(figures)
                    shown = f"{figures['rate']:,.0f}/s {figures['errors'] or ''}"
                    tell(f"round {number + 1}  c = {callers}  {target.name}: {shown}")
    return rows_of(targets, connections, found)


def rows_of(
    targets: Sequence[Target], connections: Sequence[int], found: Mapping[tuple[str, int], Sequence[Figures]]
) -> list[Row]:
    """The rounds of each server and number of callers, as one line each."""
    return [_row(target, callers, found) for callers in connections for target in targets]


@contextmanager
def _running(targets: Sequence[Target], protocol: str) -> Iterator[list[ServerProcess]]:
    with ExitStack() as stack:
        servers = []
        for target in targets:
            servers.append(start(target, CORPUS, "pinned"))
            stack.callback(servers[-1].stop)
        yield servers


def measure(target: Target, server: ServerProcess, connections: int, extent: Extent) -> Figures:
    """One load of `tritonclient`. `server_ms` is the server's CPU time for an answer: other work changes it little."""
    spec = {
        "protocol": extent.protocol,
        "port": server.port + (1 if extent.protocol == "grpc" else 0),
        "model": f"{TAGGER}.tagger" if target.is_service else "tagger",
        "with_lengths": target.is_service,
        "corpus": str(CORPORA / f"{CORPUS}.json"),
        "connections": connections,
        "warm_s": extent.warm_s,
        "seconds": extent.seconds,
    }
    command = on(cores("pinned").client, [str(python_of("pytriton")), str(_CLIENT), json.dumps(spec)])
    before_s = cpu_s(server.pids())
    done = subprocess.run(command, capture_output=True, text=True, timeout=extent.seconds + 120, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-500:])
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    used_s = cpu_s(server.pids()) - before_s
    return {**figures, "server_ms": 1000 * used_s / max(1, figures["checked"])}


def _row(target: Target, connections: int, found: Mapping[tuple[str, int], Sequence[Figures]]) -> Row:
    rounds, ours = found[target.name, connections], found[UNROLL.name, connections]
    medians = {
        name: statistics.median(each[name] for each in rounds) for name in ("rate", "p50_ms", "p99_ms", "server_ms")
    }
    ratio = paired_ratio([each["rate"] for each in rounds], [each["rate"] for each in ours])
    faults = [sum(each["wrong"] for each in rounds), sum(sum(each["errors"].values()) for each in rounds)]
    return Row(target.name, connections, *medians.values(), *faults, None if target is UNROLL else ratio)
