"""Experiment trackers: each receives the numbers of metrics.jsonl, and nothing is sent over the network."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from tests.training.tiny_runs import tiny_recipe
from training.config.recipe import Recipe
from training.fit import trackers
from training.fit.trackers import TRACKERS, TrackerMissing, flat_values, open_trackers
from training.pipeline.run import prepare_run, start_run, train_run

CPU = torch.device("cpu")


def trained(folder: Path, *names: str) -> tuple[Recipe, list[dict[str, float]]]:
    """A run of two epochs with the trackers `names`, and its logged epochs."""
    recipe = tiny_recipe("classification", folder / "data", trackers=list(names))
    run = start_run(prepare_run(recipe), folder / "runs" / "mine")
    train_run(run, CPU)
    rows = [json.loads(line) for line in run.folder.metrics.read_text(encoding="utf-8").splitlines()]
    return recipe, [row for row in rows if row["kind"] == "epoch"]


class Listening:
    """Records what it receives."""

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        self.told: list[tuple[int, dict[str, float]]] = []
        self.closed = False
        heard.append(self)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.told.append((step, dict(values)))

    def close(self) -> None:
        self.closed = True


heard: list[Listening] = []


def test_every_tracker_is_told_of_every_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every tracker receives the steps and values of metrics.jsonl and is closed at the end."""
    heard.clear()
    monkeypatch.setitem(TRACKERS, "mlflow", Listening)
    monkeypatch.setitem(TRACKERS, "wandb", Listening)
    _, epochs = trained(tmp_path, "mlflow", "wandb")
    assert len(heard) == 2
    for tracker in heard:
        assert tracker.closed
        assert [step for step, _ in tracker.told] == [row["step"] for row in epochs]
        assert [values["dev/loss"] for _, values in tracker.told] == [row["dev_loss"] for row in epochs]
        assert [values["train/loss"] for _, values in tracker.told] == [row["loss"] for row in epochs]


def test_trackers_are_closed_when_a_run_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trackers are closed when a run fails, also if a later tracker cannot start."""
    heard.clear()
    monkeypatch.setitem(TRACKERS, "mlflow", Listening)
    monkeypatch.setitem(sys.modules, "wandb", None)
    recipe = tiny_recipe("classification", tmp_path, trackers=["mlflow", "wandb"])
    with (
        pytest.raises(TrackerMissing, match=r"asks for wandb, .* pip install -e '\.\[tracking\]'"),
        open_trackers(tmp_path, recipe),
    ):
        pytest.fail("it was opened without wandb")
    assert heard[0].closed


@pytest.mark.trackers
def test_mlflow_has_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The MLflow store has the curves and the whole recipe, and a resumed run continues the same MLflow run."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed: run `make pytest-layers`")
    monkeypatch.setattr("warnings.warn", lambda *_, **__: None)  # MLflow's tables use what SQLAlchemy has deprecated
    recipe, epochs = trained(tmp_path, "mlflow")
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
    folder = tmp_path / "runs" / "mine"
    run = client.get_run((folder / "mlflow-run.txt").read_text(encoding="utf-8"))
    assert run.data.params == flat_values(recipe) | {key: value for key, value in run.data.params.items() if not value}
    points = client.get_metric_history(run.info.run_id, "dev/accuracy")
    assert [(point.step, point.value) for point in points] == [(row["step"], row["dev_accuracy"]) for row in epochs]
    assert run.info.status == "FINISHED"
    with open_trackers(folder, recipe) as (tracker,):
        tracker.log(99, {"dev/accuracy": 50.0})
    assert len(client.get_metric_history(run.info.run_id, "dev/accuracy")) == len(epochs) + 1
    assert len(client.search_runs(client.get_experiment_by_name("unroll").experiment_id)) == 1


@pytest.mark.trackers
def test_wandb_stays_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless the environment says otherwise, a W&B run is written offline into the run folder."""
    monkeypatch.delenv("WANDB_MODE", raising=False)
    wandb = pytest.importorskip("wandb", reason="Weights & Biases is not installed: run `make pytest-layers`")
    trained(tmp_path, "wandb")
    wandb.teardown()  # as at the end of the process: the file is complete only after that
    folder = tmp_path / "runs" / "mine"
    identity = (folder / "wandb-run.txt").read_text(encoding="utf-8")
    (written,) = (folder / "wandb").glob(f"offline-run-*-{identity}/run-{identity}.wandb")
    assert b"dev/accuracy" in written.read_bytes()


def test_a_recipe_as_flat_values(tmp_path: Path) -> None:
    """The recipe is flattened to the keys that `--set` takes."""
    recipe = tiny_recipe("tagging", tmp_path)
    flat = flat_values(recipe)
    assert flat["training.learning_rate"] == str(recipe.training.learning_rate)
    assert flat["network.hidden_size"] == "6"
    assert flat["name"] == "tiny-tagging"
    assert trackers.PROJECT not in flat
