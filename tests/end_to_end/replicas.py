"""Three services as processes of their own behind HAProxy, with the configuration that `deploy/` ships."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx

from tests.conftest import wait_until
from tests.ports import free_port
from tests.programs import find_program

ROOT = Path(__file__).parents[2]
CONFIGURATION = ROOT / "deploy" / "haproxy" / "haproxy.cfg"
_STOP_S = 60.0


class Replica:
    """One service on a port of its own. It can be killed, stopped and started again."""

    def __init__(self, models_dir: Path, log: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = log
        self._command = [sys.executable, "-m", "service", "serve", "--port", str(self.port)]
        self._environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "UNROLL_MODELS_DIR": str(models_dir),
            "UNROLL_DEVICE": "cpu",
            "UNROLL_LANES": "1",
            "UNROLL_STOP_DELAY_S": "4",  # HAProxy sees within 0.7 s that a replica is not ready
            "UNROLL_STATE_KEYS": "one key for all the replicas of this test",
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin to start; `wait_until_ready` says when that is done."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, cwd=ROOT, env=self._environment, stdout=log, stderr=subprocess.STDOUT
            )

    def wait_until_ready(self) -> None:
        wait_until(self._is_ready)

    def kill(self) -> None:
        """End it as a crash or a lost machine would: no goodbye to anyone."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it as a roll-out does. Fails the test if it does not come to its end."""
        self._end(signal.SIGTERM)

    def metric(self, series: str) -> float:
        """The value of a series as `/metrics` writes it, 0 if there is none."""
        lines = httpx.get(f"{self.url}/metrics", timeout=60).text.splitlines()
        return next((float(line.split()[-1]) for line in lines if line.startswith(f"{series} ")), 0.0)

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text(encoding="utf-8")[-2000:]
        try:
            return httpx.get(f"{self.url}/health/ready", timeout=2).status_code == 200
        except httpx.TransportError:
            return False

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(how)
            self._process.wait(_STOP_S)


@contextmanager
def running_replicas(models_dir: Path, logs: Path, num_replicas: int = 3) -> Iterator[list[Replica]]:
    """So many replicas that are ready."""
    replicas = [Replica(models_dir, logs / f"replica-{number}.log") for number in range(num_replicas)]
    with ExitStack() as stack:
        for replica in replicas:
            stack.callback(replica.kill)
            replica.start()
        for replica in replicas:
            replica.wait_until_ready()
        yield replicas


@contextmanager
def gateway_before(replicas: list[Replica], logs: Path) -> Iterator[str]:
    """The address of HAProxy in front of the replicas."""
    haproxy = find_program("haproxy")
    address = f"127.0.0.1:{free_port()}"
    places = {f"REPLICA_{number}": f"127.0.0.1:{replica.port}" for number, replica in enumerate(replicas, start=1)}
    with (logs / "haproxy.log").open("wb") as log:
        process = subprocess.Popen(
            [haproxy, "-db", "-f", str(CONFIGURATION)], env={**places, "GATEWAY": address}, stdout=log, stderr=log
        )
    try:
        wait_until(lambda: _answers(f"http://{address}/health/ready"))
        yield f"http://{address}"
    finally:
        process.kill()
        process.wait(_STOP_S)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.TransportError:
        return False
