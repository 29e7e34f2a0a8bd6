"""Pretrained word vectors of another run: each is assigned to its word, and their data is listed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from service.bundle.task_options import TrainedTask
from tests.training.tiny_runs import tiny_recipe
from training.config.recipe import ConfigFault, Recipe
from training.pipeline.pretrained.word_vectors import starting_vectors
from training.pipeline.run import Run, prepare_run, sources_of_start, start_run, train_run
from training.preprocessing.load_records import may_ship
from training.preprocessing.tensor_file import CheckpointFault

CPU = torch.device("cpu")
#: Each run has vectors of size five.
WORD_TASKS: tuple[TrainedTask, ...] = ("tagging", "classification")


def trained(task: TrainedTask, folder: Path) -> Run:
    run = start_run(prepare_run(tiny_recipe(task, folder / "data", epochs=1, trackers=[])), folder / "run")
    train_run(run, CPU)
    return run


def starting_from(run: str, task: TrainedTask, folder: Path, unit: str = "word") -> Recipe:
    recipe = tiny_recipe(task, folder)
    return recipe.model_copy(update={"tokenizer": recipe.tokenizer.model_copy(update={"vectors": run, "unit": unit})})


@pytest.mark.parametrize("task", WORD_TASKS)
@pytest.mark.parametrize("before", WORD_TASKS)
def test_a_word_starts_where_another_run_left_it(before: TrainedTask, task: TrainedTask, tmp_path: Path) -> None:
    """For every pair of tasks, each word's initial embedding is its vector from the other run."""
    first = trained(before, tmp_path / "first")
    second = start_run(
        prepare_run(starting_from(str(first.folder.path), task, tmp_path / "second")), tmp_path / "second" / "run"
    )
    learnt = starting_vectors(str(first.folder.path))
    assert len(learnt.words) == 7
    role, weight = ("words", "word_embedding.weight") if task == "tagging" else ("text", "embedding.weight")
    rows, tokenizer = second.network.state_dict()[weight].numpy(), second.vocabulary.tokenizers[role]
    for word, vector in zip(learnt.words, learnt.rows, strict=True):
        (number,) = tokenizer.encode_words([word])
        assert np.array_equal(rows[number], vector)


def test_the_data_behind_the_vectors_is_named(tmp_path: Path) -> None:
    """The manifest lists the data of every run in the chain, and the digest of the imported weights."""
    first = trained("tagging", tmp_path / "first")
    recipe = starting_from(str(first.folder.path), "classification", tmp_path / "second")
    second = start_run(prepare_run(recipe), tmp_path / "second" / "run")
    train_run(second, CPU)
    third = starting_from(str(second.folder.path), "tagging", tmp_path / "third")
    sources = sources_of_start(start_run(prepare_run(third), tmp_path / "third" / "run"))
    assert [source.name for source in sources] == [second.data.source.name, first.data.source.name]
    assert all(len(source.splits["best.safetensors"]) == 64 for source in sources)


def test_licences_behind_the_vectors_count(tmp_path: Path) -> None:
    """A model whose vectors were trained on restricted text may not be shipped either."""
    run = trained("classification", tmp_path)
    unclear = run.data.source.model_copy(update={"name": "imdb"})
    assert may_ship(run.recipe, (run.data.source,))
    assert not may_ship(run.recipe, (run.data.source, unclear))


def test_a_run_without_words_is_refused(tmp_path: Path) -> None:
    """Runs on subwords or characters have no word vectors and are refused."""
    run = trained("generation", tmp_path / "first")
    with pytest.raises(ConfigFault, match="has learnt no vectors of words"):
        prepare_run(starting_from(str(run.folder.path), "tagging", tmp_path / "second"))


def test_a_run_that_was_never_trained_says_so(tmp_path: Path) -> None:
    """A run without best weights is refused."""
    run = start_run(prepare_run(tiny_recipe("tagging", tmp_path / "data")), tmp_path / "run")
    with pytest.raises(CheckpointFault, match=r"best\.safetensors"):
        starting_vectors(str(run.folder.path))
