"""Import boundaries: which modules an import loads, and which modules the sources name."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: PIL is loaded with the first bundle that takes images.
NEVER_IN_THE_SERVICE = {"PIL", "onnx", "safetensors", "sklearn", "torch", "training"}
NEVER_IN_THE_CLIENT = {"fastapi", "numpy", "onnxruntime", "prometheus_client", "starlette", "tokenizers", "uvicorn"}
NEVER_IN_TRAINING = {"fastapi", "prometheus_client", "starlette", "uvicorn"}
NEVER_IN_THE_CONTRACT = {"asyncio", "fastapi", "onnxruntime", "prometheus_client", "torch", "training"}

#: The parts of the service that training may import: the contract, the tasks, the errors and the runner.
OPEN_TO_TRAINING = (
    "service.bundle",
    "service.distribution",
    "service.errors",
    "service.inference.runtime.ort_runner",
    "service.tasks",
)


def modules_loaded_by(statement: str) -> set[str]:
    """Return the top-level modules that a new interpreter has loaded after `statement`."""
    program = f"import sys\n{statement}\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def imported_names(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and dotted name of every import in a source file, `from a import b` as both `a` and `a.b`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("service.server.app", NEVER_IN_THE_SERVICE),
        ("service.cli.commands", NEVER_IN_THE_SERVICE),
        ("service.client", NEVER_IN_THE_SERVICE | NEVER_IN_THE_CLIENT | {"websockets"}),
        ("service.bundle.load", NEVER_IN_THE_CONTRACT),
        ("service.tasks.catalogue", NEVER_IN_THE_CONTRACT),
        ("service.inference.engines.open_bundle", NEVER_IN_THE_SERVICE | NEVER_IN_TRAINING),
        ("training.cli.commands", NEVER_IN_TRAINING),
    ],
)
def test_an_import_loads_nothing_from_behind_a_wall(module: str, forbidden: set[str]) -> None:
    """Importing the module in a new interpreter loads none of the forbidden modules, directly or indirectly."""
    loaded = modules_loaded_by(f"import {module}")
    assert module.partition(".")[0] in loaded
    assert not loaded & forbidden


def test_training_names_only_the_open_parts_of_the_service() -> None:
    """Training imports only the listed parts of the service."""
    trespasses = [
        f"{path.relative_to(ROOT)}:{line} {name}"
        for path in (ROOT / "training").rglob("*.py")
        for line, name in imported_names(path)
        if name.partition(".")[0] == "service"
        and not f"{name}.".startswith(tuple(f"{part}." for part in OPEN_TO_TRAINING))
    ]
    assert not trespasses


def test_onnxruntime_is_told_to_report_nothing() -> None:
    """Telemetry of onnxruntime, which its official builds send by default, is disabled by an environment variable."""
    program = (
        "import builtins, os; load = builtins.__import__\n"
        "def seen(name, *rest):\n"
        "    if name == 'onnxruntime': print('told:', os.environ.get('ORT_DISABLE_TELEMETRY'))\n"
        "    return load(name, *rest)\n"
        "builtins.__import__ = seen\n"
        "import service.inference.runtime.ort_runner"
    )
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert set(done.stdout.splitlines()) == {"told: 1"}
