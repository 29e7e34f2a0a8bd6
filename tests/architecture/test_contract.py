"""Names used on both sides of the bundle contract are identical on both sides."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import get_args

import pytest

from service.bundle.options_of_task import OptionsOfTask
from service.bundle.task_options import TaskOptions, TrainedTask

ROOT = Path(__file__).parents[2]
OPTIONS: tuple[type[OptionsOfTask], ...] = get_args(get_args(TaskOptions)[0])
TRAINED = [options for options in OPTIONS if options.model_fields["task"].default in get_args(TrainedTask)]


def strings_in(paths: list[Path]) -> set[str]:
    """Return every string literal in the source files."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in paths]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


@pytest.mark.parametrize("options", OPTIONS)
def test_every_graph_of_a_task_is_run_by_the_service(options: type[OptionsOfTask]) -> None:
    """The task modules name every graph that the manifest requires."""
    named = strings_in(sorted((ROOT / "service" / "tasks").rglob("*.py")))
    assert set(options.graphs) <= named


@pytest.mark.parametrize("options", TRAINED)
def test_every_graph_of_a_task_is_written_by_training(options: type[OptionsOfTask]) -> None:
    """The graph writers name every graph that the manifest of a trained bundle requires."""
    named = strings_in(sorted((ROOT / "training" / "onnx_graph").rglob("*.py")))
    assert set(options.graphs) <= named
