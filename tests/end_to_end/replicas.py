"""Three service processes behind HAProxy, with the configuration that `deploy/` ships."""

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
    """One service process on its own port, which can be killed, stopped and restarted."""

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
            "UNROLL_STOP_DELAY_S": "4",  # HAProxy detects within 0.9 s that a replica is not ready
            "UNROLL_STATE_KEYS": "one key for all the replicas of this test",
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process; `wait_until_ready` waits for readiness."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, cwd=ROOT, env=self._environment, stdout=log, stderr=subprocess.STDOUT
            )

    def wait_until_ready(self) -> None:
        wait_until(self._is_ready)

    def kill(self) -> None:
        """Send SIGKILL, as in a crash."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Stop gracefully, as in a rolling update; fail the test if the process does not exit."""
        self._end(signal.SIGTERM)

    def metric(self, series: str) -> float:
        """Return the value of a series in `/metrics`, or 0 if there is none."""
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
    """Run the given number of replicas and wait until they are ready."""
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
    """Run HAProxy in front of the replicas and return its address."""
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
