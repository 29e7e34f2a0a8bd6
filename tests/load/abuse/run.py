"""One attack after another, each on a new server within a memory limit, and what others noticed of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.load.abuse import attacks, grpc_attacks
from tests.load.abuse.attacks import TEXT_MODEL
from tests.load.abuse.confinement import memory_limit
from tests.load.abuse.probes import Latency, resident_mb
from tests.load.places import ROOT
from tests.load.soak.callers.caller import encoded, http_request
from tests.load.targets.own_server import own_server
from tests.ports import free_port

#: Those of HTTP, and those of gRPC, which have names of their own.
ATTACKS = {**attacks.ATTACKS, **grpc_attacks.ATTACKS}
UNREAD_LOG = "unread log"
SETTINGS = {"UNROLL_DEVICE": "cpu"}
_MAX_ATTACK_S = 180.0
#: After an attack; the service collects cycles when it is idle.
_SETTLE_S = 8.0


@dataclass(frozen=True)
class Outcome:
    """What one attack did: resident memory in MB before, at its peak and afterwards (None: the server was killed)."""

    attack: str
    before_mb: float
    peak_mb: float
    after_mb: float | None
    live: Latency
    small: Latency
    happened: Mapping[str, int]
    is_limited: bool


def endure(attack: str, models: Path, log: Path, limit_bytes: int) -> Outcome:
    """Start a server with its settings as shipped, and put one attack on it. Raises StartFailed."""
    grpc_port = free_port()
    settings = SETTINGS | {"UNROLL_GRPC_PORT": str(grpc_port)}
    with (
        memory_limit(limit_bytes) as prefix,
        _unread(log) if attack == UNREAD_LOG else contextlib.nullcontext(log) as output,
        own_server(models, output, settings, prefix) as server,
    ):
        return asyncio.run(_observe(attack, server.pid, (server.port, grpc_port), bool(prefix)))


@contextmanager
def _unread(log: Path) -> Iterator[Path]:
    """A pipe in place of the log, which somebody holds open and nobody reads."""
    pipe = log.with_suffix(".pipe")
    pipe.unlink(missing_ok=True)
    os.mkfifo(pipe)
    held = os.open(pipe, os.O_RDWR)
    try:
        yield pipe
    finally:
        os.close(held)
        pipe.unlink()


async def _observe(attack: str, pid: int, ports: tuple[int, int], is_limited: bool) -> Outcome:
    live = Latency(http_request("GET", "/health/live"))
    small = Latency(http_request("POST", "/predict", encoded({"model": TEXT_MODEL, "inputs": "Ada lives in London."})))
    before_mb = peak_mb = resident_mb(pid) or 0.0
    over = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        probing = [group.create_task(each.repeat(ports[0], over)) for each in (live, small)]
        attacking = group.create_task(_attack(attack, *ports))
        attacking.add_done_callback(lambda _: over.set())
        while not all(task.done() for task in probing):
            peak_mb = max(peak_mb, resident_mb(pid, "VmHWM") or 0.0)
            await asyncio.sleep(0.05)
    await asyncio.sleep(_SETTLE_S)
    return Outcome(attack, before_mb, peak_mb, resident_mb(pid), live, small, attacking.result(), is_limited)


async def _attack(attack: str, port: int, grpc_port: int) -> dict[str, int]:
    """Run it in a process of its own until it ends or takes too long; returns how often what happened."""
    command = ("-m", attacks.__name__, attack, str(port))
    if attack in grpc_attacks.ATTACKS:
        command = ("-m", grpc_attacks.__name__, attack, str(grpc_port))
    process = await asyncio.create_subprocess_exec(sys.executable, *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    try:
        output, _ = await asyncio.wait_for(process.communicate(), _MAX_ATTACK_S)
    except TimeoutError:
        process.kill()
        await process.wait()
        return {f"not done after {_MAX_ATTACK_S:g} s": 1}
    happened: dict[str, int] = json.loads(output or b'{"the attack failed": 1}')
    return happened
