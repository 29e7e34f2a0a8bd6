"""A trained run is reproducible from its folder alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from service.bundle.task_options import TrainedTask
from service.errors import UnrollError
from tests.training.tiny_runs import TASKS, tiny_recipe
from training.fit.run_folder import RunFolderFault
from training.pipeline.retrain import begin_again, compare_runs
from training.pipeline.run import prepare_run, start_run, train_run
from training.preprocessing.tensor_file import read_tensors, write_tensors

CPU = torch.device("cpu")


def finished_run(task: TrainedTask, folder: Path, **changes: object) -> Path:
    recipe = tiny_recipe(task, folder / "data", trackers=[], **changes)
    train_run(start_run(prepare_run(recipe), folder / "run"), CPU)
    return folder / "run"


@pytest.mark.parametrize("task", TASKS)
def test_a_run_is_repeated_to_the_bit(task: TrainedTask, tmp_path: Path) -> None:
    """Retraining gives bit-identical tokenizers, batches, dropout and averages, whatever the process did before."""
    original = finished_run(task, tmp_path, ema_decay=0.9)
    torch.manual_seed(99)
    again = begin_again(original, tmp_path / "again")
    train_run(again, CPU)
    comparison = compare_runs(original, tmp_path / "again")
    assert comparison.is_equal
    assert "equal to the bit" in comparison.summary()
    for name in ("config.toml", "labels.json", "data.json"):
        assert (original / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_a_difference_is_measured_and_explained(tmp_path: Path) -> None:
    """The report has the largest difference of the weights, and the libraries whose versions differ."""
    original = finished_run("classification", tmp_path, epochs=1)
    train_run(begin_again(original, tmp_path / "again"), CPU)
    weights, metadata = read_tensors(tmp_path / "again" / "best.safetensors")
    weights["output.weight"][0, 0] += 0.125
    write_tensors(tmp_path / "again" / "best.safetensors", weights, metadata)
    environment = json.loads((original / "environment.json").read_text(encoding="utf-8"))
    environment["libraries"]["torch"] = "1.0"
    (original / "environment.json").write_text(json.dumps(environment), encoding="utf-8")
    comparison = compare_runs(original, tmp_path / "again")
    assert comparison.largest_difference == pytest.approx(0.125)
    assert f"torch was 1.0, is {torch.__version__}" in comparison.summary()


def test_what_cannot_be_repeated_is_said(tmp_path: Path) -> None:
    """Retraining into the same folder, from an unfinished run, or on changed data is refused."""
    original = finished_run("classification", tmp_path, epochs=1)
    with pytest.raises(UnrollError, match="--into names another folder"):
        begin_again(original, tmp_path / "other" / ".." / "run")
    with (tmp_path / "data" / "train.csv").open("a", encoding="utf-8") as file:
        file.write("the cat sees,cat\n")
    with pytest.raises(RunFolderFault, match=r"train/train\.csv changed"):
        begin_again(original, tmp_path / "again")
    weights, metadata = read_tensors(original / "last.safetensors")
    metadata["progress"] = metadata["progress"].replace('"finished":true', '"finished":false')
    write_tensors(original / "last.safetensors", weights, metadata)
    with pytest.raises(UnrollError, match=r"unroll resume .* continues it"):
        begin_again(original, tmp_path / "again")
    assert not (tmp_path / "again").exists()
