"""The forecasting pipeline: one command from a user's table to a served forecaster, and all other commands on it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from click.testing import Result
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from service.bundle.load import load_bundle
from service.errors import UnrollError
from service.tasks.recorded import differences
from tests.allowed_skips import NO_DATA
from tests.conftest import running_service
from tests.training.tiny_runs import own_recipe
from tests.training.tiny_series import SETTINGS, write_table
from training.cli.commands import app
from training.config.recipe import Recipe, find_recipe, load_recipe
from training.data.public.locate import dataset_folders
from training.fit.trainer import Interrupted, Trainer
from training.pipeline.run import prepare_run, publish_run, start_run, train_run
from training.preprocessing.load_records import load_data
from training.preprocessing.windows import Windows, one_series
from training.publish.variants import loss_of_quality
from training.tasks.catalogue import training_task

CPU = torch.device("cpu")


def unroll(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def settings() -> list[str]:
    return [f"--set={setting}" for setting in SETTINGS]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table, and the run and bundle that the command makes of it."""
    folder = tmp_path_factory.mktemp("forecast")
    result = unroll(
        "train", "forecasting", "--train", write_table(folder / "series.csv", 120), "--name", "mine",
        "--column", "time=date", "--column", "target=load", "--runs", folder / "runs", "--models", folder / "models",
        "--device", "cpu", "--set", "network.mixing=joint", *settings(),
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    (folder / "said.txt").write_text(result.stderr, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def served(home: Path) -> Iterator[TestClient]:
    with running_service(home / "models") as client:
        yield client


def own(folder: Path, *more: str) -> Recipe:
    overrides = dict(setting.split("=") for setting in (*SETTINGS, *more))
    values = {key: json.loads(value) if value[0].isdigit() else value for key, value in overrides.items()}
    return own_recipe("forecasting", "mine", str(write_table(folder / "series.csv", 120)), overrides=values)


def test_the_command_says_how_it_split_and_how_good_it_is(home: Path) -> None:
    """The last tenth is dev, and the error is reported next to three baselines."""
    said = (home / "said.txt").read_text(encoding="utf-8")
    assert "the last 12 of 120 rows are kept as dev" in said
    assert "dev mse" in said
    assert all(name in said for name in ("last value", "value of 6 steps before", "linear"))
    scores = {score.measure: score for score in load_bundle(home / "models" / "mine" / "1").manifest.scores}
    assert scores.keys() == {"mse", "mae", "mae_in_units"}
    assert scores["mse"].baseline is not None
    assert "last value" in scores["mse"].detail


def test_the_recorded_examples_are_answered_over_http(home: Path, served: TestClient) -> None:
    """The service reproduces the recorded answers before it is ready, and returns them over HTTP, batched or alone."""
    assert served.get("/health/ready").status_code == 200
    examples = load_bundle(home / "models" / "mine" / "1").examples
    answer = served.post("/predict", json={"model": "mine", "inputs": [example.inputs for example in examples]})
    assert answer.status_code == 200, answer.text
    assert answer.json()["task"] == "forecasting"
    recorded = [example.answer for example in examples]
    assert differences(recorded, answer.json()["predictions"], 1e-5) == []
    alone = served.post("/predict", json={"inputs": examples[0].inputs}).json()["predictions"]
    assert differences(recorded[:1], alone, 1e-5) == []
    assert len(alone[0]["forecast"]) == 5
    assert alone[0]["channels"] == ["load"]


def test_verify_and_evaluate_take_the_bundle(home: Path, tmp_path: Path) -> None:
    """Verification against torch passes, and a later part of the table is scored by the channels of the bundle."""
    bundle = home / "models" / "mine" / "1"
    facts = json.loads(unroll("verify", bundle, "--run", home / "runs" / "mine", "--json").stdout)
    assert facts["passed"]
    assert {"torch", "examples"} <= facts["checks"].keys()
    later = write_table(tmp_path / "later.csv", 40, first=200)
    scores = json.loads(unroll("evaluate", bundle, later, "--json").stdout)
    assert (scores["windows"], scores["values"]) == (24, 24 * 5)
    assert 0 < scores["mse"] < 100


def test_int8_is_refused_for_a_gru_with_the_reason(home: Path, tmp_path: Path) -> None:
    """int8 is refused for a GRU, for which onnxruntime has no quantised operator, and the bundle is unchanged."""
    bundle = shutil.copytree(home / "models", tmp_path / "models") / "mine" / "1"
    before = load_bundle(bundle).digest
    result = unroll("export", "--int8", bundle)
    assert result.exit_code == 2
    assert "no GRU" in result.stderr
    assert load_bundle(bundle).digest == before


def test_a_faster_form_is_measured_by_its_error(tmp_path: Path) -> None:
    """The int8 graphs of an LSTM are accepted or refused by their increase of the error, which is reported."""
    run = start_run(prepare_run(own(tmp_path, "network.cell=lstm")), tmp_path / "run")
    train_run(run, CPU)
    bundle = publish_run(run, tmp_path / "models", lambda _sentence: None).path
    result = unroll("export", "--int8", bundle)
    assert "int8: dev mse" in result.stderr
    assert "100.00 % of decisions agree" in result.stderr
    assert (result.exit_code == 0) == ("int8" in load_bundle(bundle).manifest.variants)
    assert loss_of_quality("mse", 0.4, 0.402) == pytest.approx(0.5)


def test_resuming_equals_not_stopping(tmp_path: Path) -> None:
    """A run stopped in the middle of an epoch and resumed ends with bit-identical weights."""
    recipe = own(tmp_path)
    straight = start_run(prepare_run(recipe), tmp_path / "straight")
    train_run(straight, CPU)
    stopped = start_run(prepare_run(recipe), tmp_path / "stopped")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_stop_if_asked", stop_at_step(9))
        with pytest.raises(Interrupted):
            train_run(stopped, CPU)
    train_run(stopped, CPU, resume=True)
    for name, value in straight.network.state_dict().items():
        assert torch.equal(value, stopped.network.state_dict()[name]), name
    files = [tmp_path / name / "best.safetensors" for name in ("straight", "stopped")]
    assert files[0].read_bytes() == files[1].read_bytes()


def stop_at_step(step: int) -> object:
    """A stand-in for the signal that stops a run."""
    is_done: list[bool] = []

    def stop(trainer: Trainer) -> None:
        if trainer.progress.step == step and not is_done:
            is_done.append(True)
            trainer._save()
            raise Interrupted("asked to", 2)

    return stop


def test_check_data_finds_gaps_times_and_leaks(tmp_path: Path) -> None:
    """The report has each channel's gaps, invalid cells by line, rows shared by train and dev, and a missing hour."""
    train = write_table(tmp_path / "train.csv", 30)
    lines = train.read_text(encoding="utf-8").splitlines()
    lines[5] = lines[5].rpartition(",")[0] + ","
    lines[9] = lines[9].rpartition(",")[0] + ",calm"
    del lines[20]
    train.write_text("\n".join(lines), encoding="utf-8")
    dev = write_table(tmp_path / "dev.csv", 10, first=25)
    result = unroll("check-data", "forecasting", "--train", train, "--dev", dev, "--json")
    found = json.loads(result.stdout)
    assert result.exit_code == 1
    assert [(fault["line"], fault["what"].split(",")[0]) for fault in found["faults"]] == [(10, "'wind' is 'calm'")]
    assert [warning["line"] for warning in found["warnings"]] == [21]
    wind = found["splits"][0]["channels"][2]
    assert (wind["name"], wind["missing"], wind["longest_gap"], wind["is_target"]) == ("wind", 2, 1, True)
    assert found["comparisons"][0]["leaks"] == 5
    plain = unroll("check-data", "forecasting", "--train", train)
    assert "longest gap" in plain.stdout


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("network.look_back=14", r"look_back \(14\) must be a multiple of segment \(4\)"),
        ("limits.max_input_tokens=8", r"network.look_back \(12\) is more than limits.max_input_tokens \(8\)"),
    ],
)
def test_a_recipe_that_cannot_work_is_refused(setting: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(UnrollError, match=reason):
        own(tmp_path, setting)


def test_a_series_too_short_for_the_horizon_says_so(tmp_path: Path) -> None:
    """The error names the setting to reduce."""
    result = unroll(
        "train", "forecasting", "--train", write_table(tmp_path / "series.csv", 40), "--name", "mine",
        "--runs", tmp_path / "runs", *settings(), "--set", "network.horizon=96",
    )  # fmt: skip
    assert result.exit_code == 2
    assert "network.horizon smaller" in result.stderr


@pytest.mark.skipif(
    not any((folder / "ETTh1_dev.csv").is_file() for folder in dataset_folders("etth1")),
    reason=f"{NO_DATA}: ett",
)
@pytest.mark.parametrize(("horizon", "windows"), [(96, 2785), (720, 2161)])
def test_the_usual_protocol_has_its_number_of_windows(horizon: int, windows: int) -> None:
    """ETTh1's dev split is Informer's: 2,880 rows after 8,640, and every window whose future lies within them."""
    recipe = load_recipe(find_recipe("etth1"), {"network.horizon": horizon})
    data = load_data(training_task(recipe), recipe)
    assert one_series(data.train).values.shape == (8640, 7)
    assert len(Windows(one_series(data.dev), 720, horizon)) == windows
