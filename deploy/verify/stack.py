"""Isolated stack: the compose project under another name, on free ports, with copies of the bundles."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import tempfile
from contextlib import suppress
from pathlib import Path

from deploy.verify.engine import DockerFailed, docker
from deploy.verify.http_client import HttpClient

ROOT = Path(__file__).parents[2]
_PORT_VARIABLES = ("SERVICE_PORT", "GRAFANA_PORT", "PROMETHEUS_PORT", "ALERTMANAGER_PORT")
#: Environment variables of another stack that must not affect this one.
_FOREIGN_PREFIXES = ("UNROLL_", "OTEL_", "COMPOSE_", "SERVICE_", "GRAFANA_", "PROMETHEUS_", "ALERTMANAGER_")


class Stack:
    """Context manager that always removes the stack."""

    def __init__(self) -> None:
        self.project = f"unroll-verify-{os.getpid()}"
        self._folder = Path(tempfile.mkdtemp(prefix="unroll-verify-"))
        self.models_dir = self._folder / "models"
        self._ports = dict(zip(_PORT_VARIABLES, free_ports(len(_PORT_VARIABLES)), strict=True))
        self._environ = self._environment()
        self.service = self._client("SERVICE_PORT")
        self.grafana = self._client("GRAFANA_PORT")
        self.prometheus = self._client("PROMETHEUS_PORT")
        self.alertmanager = self._client("ALERTMANAGER_PORT")

    def __enter__(self) -> Stack:
        shutil.copytree(ROOT / "models", self.models_dir, ignore=shutil.ignore_patterns(".*"))
        # The user of the container differs from the current user.
        self._folder.chmod(0o755)
        (self._folder / "empty.env").touch()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(DockerFailed):
            self.compose("--profile", "*", "down", "--volumes", "--rmi", "local", "--timeout", "5", limit_s=120)
        shutil.rmtree(self._folder, ignore_errors=True)

    def compose(self, *arguments: str, limit_s: float = 120) -> str:
        """`docker compose ARGUMENTS` for this stack. Raises DockerFailed."""
        own = ["compose", "--project-name", self.project, "--env-file", str(self._folder / "empty.env")]
        return docker(*own, *arguments, limit_s=limit_s, environ=self._environ, folder=ROOT)

    def container(self, name: str) -> str:
        """The id of a container of the stack."""
        return self.compose("ps", "--all", "--quiet", name).strip()

    def inspect(self, name: str, template: str) -> str:
        """A property of a container, such as `{{.State.Status}}`."""
        return docker("inspect", "--format", template, self.container(name)).strip()

    def last_words(self) -> str:
        """Last log lines of every container."""
        try:
            return self.compose("logs", "--tail", "25")
        except DockerFailed as error:
            return str(error)

    def _client(self, variable: str) -> HttpClient:
        return HttpClient("127.0.0.1", self._ports[variable])

    def _environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN_PREFIXES)}
        num_cores = docker("info", "--format", "{{.NCPU}}").strip()
        own = {
            "UNROLL_STATE_KEYS": secrets.token_hex(24),
            "GRAFANA_ADMIN_PASSWORD": secrets.token_hex(12),
            "SERVICE_ADDRESS": "127.0.0.1",
            "GRAFANA_ADDRESS": "127.0.0.1",
            "SERVICE_CPUS": num_cores,
            "MODELS_DIR": str(self.models_dir),
        }
        return inherited | own | {name: str(port) for name, port in self._ports.items()}


def free_ports(number: int) -> list[int]:
    """Distinct free ports of this machine."""
    sockets = [socket.socket() for _ in range(number)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()
