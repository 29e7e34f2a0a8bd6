"""A dry run estimates the resources of a run, and writes no files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from service.bundle.task_options import TrainedTask
from tests.training.tiny_runs import TASKS, tiny_recipe
from training.networks.build import build_network
from training.pipeline.dry_run import dry_run, largest_batch
from training.pipeline.run import prepare_run
from training.tasks.catalogue import training_task

CPU = torch.device("cpu")


@pytest.mark.parametrize("task", TASKS)
def test_a_dry_run_counts_what_a_run_would_do(task: TrainedTask, tmp_path: Path) -> None:
    """Parameters and updates are exact; memory counts two Adam moments and one average per weight, and activations."""
    recipe = tiny_recipe(task, tmp_path, epochs=7, ema_decay=0.9)
    prepared = prepare_run(recipe)
    files = sorted(tmp_path.rglob("*"))
    found = dry_run(prepared, CPU)
    network = build_network(training_task(recipe), recipe, prepared.vocabulary)
    assert found.num_parameters == sum(parameter.numel() for parameter in network.parameters())
    batches = prepared.task.training_set(recipe, prepared.vocabulary, prepared.data.train).epoch(0)
    assert (found.steps_per_epoch, found.steps) == (len(batches), 7 * len(batches))
    assert found.weights_bytes == 2 * 4 * found.num_parameters
    assert found.optimizer_bytes == pytest.approx(3 * 4 * found.num_parameters, rel=0.05)
    assert found.activations_bytes > 1000
    assert found.seconds_per_step > 0
    assert f"{found.num_parameters:,} weights" in found.summary()
    assert sorted(tmp_path.rglob("*")) == files


def test_activations_grow_with_the_batch(tmp_path: Path) -> None:
    """Four times the batch size gives about four times the activation memory."""
    kept = [
        dry_run(prepare_run(tiny_recipe("classification", tmp_path, batch_size=size)), CPU).activations_bytes
        for size in (8, 32)
    ]
    assert 2.5 < kept[1] / kept[0] < 6


def test_the_largest_batch_is_the_one_that_counts(tmp_path: Path) -> None:
    """The measured batch is the largest one of the epoch."""
    prepared = prepare_run(tiny_recipe("tagging", tmp_path, batch_size=2))
    data = prepared.task.training_set(prepared.recipe, prepared.vocabulary, prepared.data.train)
    longest = max(data.batch(order).to(CPU).words.shape[1] for order in data.epoch(0))  # type: ignore[union-attr]
    assert largest_batch(data).words.shape[1] == longest  # type: ignore[union-attr]
