"""The two catalogues of tasks match the manifest, each other and the records."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from service.bundle.manifest import GraphSpec, Manifest, TensorSpec
from service.bundle.options_of_task import OptionsOfTask
from service.bundle.task_options import TaskOptions, TensorsOptions, TrainedTask
from service.errors import UnrollError
from tests.training.tiny_runs import TASKS as TINY_TASKS
from tests.training.tiny_runs import own_recipe, write_files
from training.data.records import LabelledSignal, LabelledText, Record
from training.evaluation.task import TrainingTask
from training.evaluation.tasks.catalogue import EVALUATION_TASKS, SIGNAL_EVALUATION, evaluation_task
from training.tasks.catalogue import SIGNALS, TASKS, task_for, training_task

OPTIONS: tuple[type[OptionsOfTask], ...] = get_args(get_args(TaskOptions)[0])
GRAPHS = {options.model_fields["task"].default: options.graphs for options in OPTIONS}
EVERY: list[TrainingTask[Any]] = [*TASKS.values(), SIGNALS]


def test_every_task_of_training_has_both_halves() -> None:
    """Both catalogues have every task of training under its own name."""
    names = set(get_args(TrainedTask))
    assert set(TASKS) == set(EVALUATION_TASKS) == names
    assert all(task.name == name for name, task in [*TASKS.items(), *EVALUATION_TASKS.items()])


@pytest.mark.parametrize("task", EVERY, ids=lambda task: type(task).__name__)
def test_a_task_is_complete(task: TrainingTask[Any]) -> None:
    """All methods exist, the task extends its torch-free part, and its int8 graphs are graphs of its bundles."""
    half = SIGNAL_EVALUATION if task is SIGNALS else EVALUATION_TASKS[task.name]
    assert isinstance(task, type(half))
    assert not inspect.isabstract(type(task))
    assert set(task.int8_graphs) <= set(GRAPHS[task.name])
    assert task.deciding
    assert task.reported
    assert task.card.intended_use


def test_arrays_without_a_meaning_have_no_measure() -> None:
    """A bundle of named arrays cannot be evaluated, and the error says why."""
    arrays = TensorSpec(name="x", dtype="float32", shape=("batch", 3))
    graph = GraphSpec(file="model.onnx", inputs=(arrays,), outputs=(arrays.model_copy(update={"name": "y"}),))
    manifest = Manifest(name="mine", task="tensors", options=TensorsOptions(), graphs={"model": graph}, tokenizers={})
    with pytest.raises(UnrollError, match="mine version 1 reads and gives arrays without a meaning"):
        evaluation_task(manifest)


@pytest.mark.parametrize("task", TINY_TASKS)
def test_a_recipe_leads_to_its_task(task: TrainedTask, tmp_path: Path) -> None:
    """The recipe derived for a user's file has the requested task."""
    train, dev = write_files(task, tmp_path)
    assert training_task(own_recipe(task, "mine", str(train), str(dev))) is TASKS[task]


def test_records_of_numbers_lead_to_signals() -> None:
    """Classification of texts and of signals share a name, and the records select between them."""
    signal: Record = LabelledSignal(np.zeros((3, 2), dtype=np.float32), "x")
    assert task_for("classification", [signal]) is SIGNALS
    assert task_for("classification", [LabelledText("a", "x")]) is TASKS["classification"]
