"""A live service, and clients of other projects as they are installed, each group in an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PATIENCE_S
from tests.live_server import LiveServer, live_server

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(__file__).parent / "programs"

RunClient = Callable[..., Any]


@pytest.fixture(scope="package")
def service(tiny_models: Path) -> Iterator[LiveServer]:
    """The tiny models, served: requests of clients share it."""
    with live_server(tiny_models) as started:
        yield started


@pytest.fixture(scope="session")
def run_client() -> RunClient:
    """`run_client(environment, program, *arguments)` runs `programs/PROGRAM.py` in `.venv-clients/ENVIRONMENT`.

    Returns the JSON that the program prints. Its standard error is shown if it fails.
    """

    def run(environment: str, program: str, *arguments: str) -> Any:
        python = ROOT / ".venv-clients" / environment / "bin" / "python"
        assert python.exists(), f"{python} is missing: run `make test-env`"
        command = [str(python), str(PROGRAMS / f"{program}.py"), *arguments]
        settings = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=2 * PATIENCE_S, env=settings
        )
        assert done.returncode == 0, f"{program} failed in {environment}:\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout)

    return run
