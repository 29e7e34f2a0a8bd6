"""The names that both sides of the contract share are the same names on both sides."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import get_args

import pytest

from service.bundle.manifest import OptionsOfTask, TaskOptions

ROOT = Path(__file__).parents[2]
OPTIONS: tuple[type[OptionsOfTask], ...] = get_args(get_args(TaskOptions)[0])


def strings_in(paths: list[Path]) -> set[str]:
    """Every string literal in these source files."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in paths]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


@pytest.mark.parametrize("options", OPTIONS)
def test_every_graph_of_a_task_is_run_by_the_service(options: type[OptionsOfTask]) -> None:
    """The modules of the tasks name each graph that the manifest demands."""
    named = strings_in(sorted((ROOT / "service" / "tasks").rglob("*.py")))
    assert set(options.graphs) <= named


@pytest.mark.parametrize("options", OPTIONS)
def test_every_graph_of_a_task_is_written_by_training(options: type[OptionsOfTask]) -> None:
    """The graph writers name each graph that the manifest demands."""
    named = strings_in(sorted((ROOT / "training" / "onnx_graph").rglob("*.py")))
    assert set(options.graphs) <= named
