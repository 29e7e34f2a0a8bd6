"""The generic training code receives a task as an argument and does not depend on which task it is."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import get_args

import pytest

from service.bundle.task_options import TaskName

ROOT = Path(__file__).parents[2] / "training"
NAMES = set(get_args(TaskName))

#: Generic code, without the folders that hold one file per task.
MACHINES = [
    path
    for room in ("evaluation", "fit", "pipeline", "preprocessing", "publish")
    for path in sorted((ROOT / room).rglob("*.py"))
    if not {"tasks", "baselines"} & set(path.relative_to(ROOT).parts)
]
#: A language model reads the words of tagging data sets.
BORROWS_A_READER = "load_records.py"


@pytest.mark.parametrize("path", MACHINES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_machine_names_no_task(path: Path) -> None:
    """No string literal in generic training code is the name of a task."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    named = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)} & NAMES
    assert named == ({"tagging"} if path.name == BORROWS_A_READER else set())
