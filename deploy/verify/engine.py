"""Run docker commands, and check their versions."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

#: Oldest Docker engine with `start_interval` for health checks.
OLDEST_ENGINE = (25, 0)
#: Oldest compose with `start_interval`, `depends_on ... required: false` and `--profile "*"`.
OLDEST_COMPOSE = (2, 24, 0)


class EngineMissing(Exception):
    """Docker is missing or not running. The message says what to install or start."""


class DockerFailed(OSError):
    """A docker command failed. The message is the end of its output."""


def require_engine() -> str:
    """Versions of Docker and compose. Raises EngineMissing."""
    if shutil.which("docker") is None:
        raise EngineMissing("the command `docker` is not installed: install Docker Engine or Docker Desktop")
    try:
        engine = docker("version", "--format", "{{.Server.Version}}", limit_s=20).strip()
    except DockerFailed as error:
        raise EngineMissing(f"no Docker engine answers: start it, or set DOCKER_HOST ({error})") from error
    try:
        compose = docker("compose", "version", "--short", limit_s=20).strip()
    except DockerFailed as error:
        raise EngineMissing("`docker compose` is not installed: install the compose plug-in") from error
    _require_version("the Docker engine", engine, OLDEST_ENGINE)
    _require_version("docker compose", compose, OLDEST_COMPOSE)
    return f"Docker {engine}, compose {compose}"


def _require_version(name: str, found: str, oldest: tuple[int, ...]) -> None:
    if version_of(found) < oldest:
        raise EngineMissing(f"{name} is {found}, and {'.'.join(map(str, oldest))} or newer is needed")


def version_of(text: str) -> tuple[int, ...]:
    """`v2.26.1-4` as (2, 26, 1)."""
    numbers = text.lstrip("v").split("-")[0].split("+")[0].split(".")
    return tuple(int(number) for number in numbers if number.isdigit())


def docker(
    *arguments: str, limit_s: float = 120, environ: Mapping[str, str] | None = None, folder: Path | None = None
) -> str:
    """Run docker and return its output. Raises DockerFailed."""
    command = ["docker", *arguments]
    try:
        done = subprocess.run(
            command, env=environ, cwd=folder, timeout=limit_s, capture_output=True, text=True, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise DockerFailed(f"`{_shown(command)}` took longer than {limit_s:.0f} s") from error
    if done.returncode:
        raise DockerFailed(
            f"`{_shown(command)}` ended with {done.returncode}: {_last_words(done.stderr or done.stdout)}"
        )
    return done.stdout


def _shown(command: list[str]) -> str:
    return " ".join(command[:12])


def _last_words(text: str) -> str:
    return " / ".join(line.strip() for line in text.strip().splitlines()[-8:])
