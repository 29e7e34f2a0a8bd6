"""A service with several workers, as a process of its own, and a look at each of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from service.server.workers.worker_table import WorkerState, WorkerTable
from tests.conftest import PATIENCE_S, wait_until
from tests.live_server import Connection
from tests.ports import free_port

ROOT = Path(__file__).parents[3]


class ServiceProcess:
    """The supervisor's process. `url` is where its workers answer."""

    def __init__(self, models: Path, folder: Path, count: int = 2, **settings: object) -> None:
        """`folder` is for the log and for what the workers share."""
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.folder, self.count = folder, count
        self.log_file = folder / "log"
        given = {"workers_dir": folder, "device": "cpu", "lanes": count, "drain_timeout_s": 10, **settings}
        environment = {**os.environ, **{f"UNROLL_{name.upper()}": str(value) for name, value in given.items()}}
        command = [sys.executable, "-m", "service", "serve", "--port", str(self.port), "--models", str(models)]
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--workers", str(count)], cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT
            )

    @property
    def table(self) -> WorkerTable:
        (folder,) = self.folder.glob("unroll-workers-*")
        return WorkerTable(folder, self.count)

    @property
    def pids(self) -> list[int]:
        return [self.table.pid(index) for index in range(self.count)]

    @property
    def states(self) -> list[WorkerState]:
        return [self.table.state(index) for index in range(self.count)]

    @property
    def connections(self) -> list[int]:
        return [self.table.connections(index) for index in range(self.count)]

    @property
    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log_file.read_text(encoding="utf-8").splitlines()]

    def wait_until_ready(self) -> None:
        """Wait until all workers are ready."""
        wait_until(lambda: self.process.poll() is not None or self._is_ready())
        assert self.process.poll() is None, self.log_file.read_text(encoding="utf-8")[-3000:]

    def connect_to(self, index: int) -> Connection:
        """A connection to one worker: new ones go where the fewest are."""
        others: list[Connection] = []
        try:
            while True:
                connection = Connection(self.port)
                if self.holder(connection) == index:
                    return connection
                others.append(connection)
        finally:
            for other in others:
                other.close()

    def holder(self, connection: Connection) -> int:
        """The worker that has taken a connection, once one has."""
        client = connection.socket.getsockname()[1]
        found: list[int] = []

        def is_found() -> bool:
            inode = _inode(self.port, client)
            found[:] = [index for index, pid in enumerate(self.pids) if f"socket:[{inode}]" in _open_files(pid)]
            return len(found) == 1

        wait_until(is_found)
        return found[0]

    def metric(self, series: str) -> float:
        """The value of a series, 0 if there is none."""
        lines = httpx.get(f"{self.url}/metrics", timeout=PATIENCE_S).text.splitlines()
        return next((float(line.split()[-1]) for line in lines if line.startswith(f"{series} ")), 0.0)

    def stop(self, sig: signal.Signals = signal.SIGTERM) -> int:
        """Stop and return the exit status."""
        self.process.send_signal(sig)
        return self.process.wait(PATIENCE_S)

    def _is_ready(self) -> bool:
        try:
            return self.states == [WorkerState.READY] * self.count
        except (ValueError, OSError):  # the folder or the table is not there yet
            return False


@contextmanager
def service_process(models: Path, folder: Path, count: int = 2, **settings: object) -> Iterator[ServiceProcess]:
    """A running service whose workers are all ready; nothing of it is left afterwards."""
    service = ServiceProcess(models, folder, count, **settings)
    try:
        service.wait_until_ready()
        yield service
    finally:
        if service.process.poll() is None:
            service.stop()


def _inode(port: int, client_port: int) -> str:
    """The service's end of a connection over the loopback interface, as the kernel numbers it."""
    ends = [f"0100007F:{end:04X}" for end in (port, client_port)]
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines():
        fields = line.split()
        if fields[1:3] == ends:
            return fields[9]
    return ""


def _open_files(pid: int) -> set[str]:
    """What the descriptors of a process stand for."""
    found = set()
    with suppress(OSError):  # it has ended, or a file was closed meanwhile
        for file in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                found.add(str(file.readlink()))
    return found
