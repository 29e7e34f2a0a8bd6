"""The pipeline for signals: from user files to a served bundle, and held-out groups."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from service.bundle.load import load_bundle
from service.cli.commands import app
from service.errors import UnrollError
from service.inference.engines.open_bundle import answer_one, open_bundle
from tests.tiny_signals import LABELS, motions, sounds
from tests.training.data.test_signals import write_index, write_lines
from tests.training.tiny_runs import own_recipe
from training.config.recipe import Recipe, load_recipe
from training.config.signals import SignalConfig
from training.data.read import read_records
from training.data.records import LabelledSignal
from training.evaluation.evaluate import evaluate_bundle
from training.evaluation.tasks.catalogue import SIGNAL_EVALUATION
from training.pipeline.run import open_run, prepare_run, publish_run, start_run, train_run, trained_network
from training.preprocessing.load_records import RunData, load_data
from training.preprocessing.scales.signal_scale import fit_signal_scale
from training.preprocessing.signal_values import json_form, wav_file
from training.tasks.catalogue import training_task

TINY = {"training.epochs": 1, "network.hidden_size": 6, "network.layers": 1, "signal.channels": [5]}
KINDS = ("frames", "waveform")


def loaded(recipe: Recipe) -> RunData:
    """The data of a recipe."""
    return load_data(training_task(recipe), recipe)


def write(folder: Path, kind: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return write_lines(folder / "a.jsonl", motions(12)) if kind == "frames" else write_index(folder, sounds(12))


def publish(folder: Path, kind: str) -> Path:
    recipe = own_recipe("classification", "mine", str(write(folder / "data", kind)), overrides=TINY)
    run = start_run(prepare_run(recipe), folder / "run")
    train_run(run, torch.device("cpu"))
    return publish_run(run, folder / "models", lambda _: None).path


@pytest.mark.parametrize("kind", KINDS)
def test_own_files_become_a_bundle_that_answers(kind: str, tmp_path: Path) -> None:
    """Kind, sample rate and features are derived from the file, and the run can be reopened."""
    path = publish(tmp_path, kind)
    bundle = load_bundle(path)
    assert bundle.manifest.labels == tuple(sorted(LABELS))
    assert bundle.tokenizers == {}
    assert [score.measure for score in bundle.manifest.scores] == ["accuracy", "f1"]
    assert all(score.baseline is not None for score in bundle.manifest.scores)
    record = (motions(1) if kind == "frames" else sounds(1))[0]
    answer = answer_one(open_bundle(path, device="cpu"), json_form(record), {"top_k": 3}).model_dump()
    assert {entry["label"] for entry in answer["top_k"]} == set(LABELS)
    reopened = open_run(tmp_path / "run")
    assert reopened.vocabulary.signal_scale is not None
    assert trained_network(tmp_path / "run").state_dict().keys() == reopened.network.state_dict().keys()
    card = (path / "README.md").read_text()
    assert ("8,000 samples a second" if kind == "waveform" else "A frame holds 3 numbers") in card
    assert max(map(len, card.splitlines())) < 1000


@pytest.mark.parametrize("kind", KINDS)
def test_a_bundle_is_scored_on_a_file(kind: str, tmp_path: Path) -> None:
    """Signals beyond the model's limit are truncated, counted and scored."""
    path = publish(tmp_path, kind)
    scores = evaluate_bundle(path, write(tmp_path / "data", kind), progress=False)
    assert (scores["count"], scores["refused"], scores["truncated"]) == (12, 0, 0)
    assert 0 <= scores["accuracy"] <= 100


def test_sounds_of_another_rate_are_learned_from_at_the_recipe_s(tmp_path: Path) -> None:
    """Sounds of another rate are resampled for training, and the bundle accepts and scores files of the old rate."""
    file = write(tmp_path / "data", "waveform")
    recipe = own_recipe("classification", "mine", str(file), overrides={**TINY, "signal.sample_rate_hz": 16000})
    prepared = prepare_run(recipe)
    for record in prepared.data.train:
        assert isinstance(record, LabelledSignal)
        assert record.sample_rate_hz == 16000
    originals = {
        len(record.values) for record in read_records("classification", file) if isinstance(record, LabelledSignal)
    }
    assert {len(record.values) // 2 for record in prepared.data.train} <= originals
    run = start_run(prepared, tmp_path / "run")
    train_run(run, torch.device("cpu"))
    path = publish_run(run, tmp_path / "models", lambda _: None).path
    scores = evaluate_bundle(path, file, progress=False)
    assert (scores["refused"], scores["truncated"]) == (0, 0)


def test_the_command_line_predicts_from_files(tmp_path: Path) -> None:
    """`unroll predict` reads a table of frames and a wave file, and reports an invalid line by number."""
    models = publish(tmp_path / "a", "frames").parents[1]
    table = tmp_path / "window.csv"
    rows = [",".join(map(str, frame)) for frame in motions(1)[0].values.tolist()]
    table.write_text("\n".join(["x,y,z", *rows]) + "\n")
    window = tmp_path / "window.json"
    window.write_text(json.dumps(json_form(motions(1)[0])))
    command = ["predict", "--models", str(models), "--json"]
    answers = [CliRunner().invoke(app, [*command, str(file)]) for file in (table, window)]
    labels = [json.loads(answer.stdout)["predictions"][0]["label"] for answer in answers]
    assert labels[0] == labels[1] in LABELS
    table.write_text("1,2,3\n1,2,three\n")
    refused = CliRunner().invoke(app, [*command, str(table)])
    assert refused.exit_code == 2
    assert f"{table}:2: not all of these are numbers" in refused.stderr
    refused = CliRunner().invoke(app, [*command, "just text"])
    assert "this model takes frames of 3 numbers" in refused.stderr


def test_the_command_line_predicts_from_a_wave_file(tmp_path: Path) -> None:
    models = publish(tmp_path / "a", "waveform").parents[1]
    file = tmp_path / "sound.WAV"
    file.write_bytes(wav_file(sounds(1)[0]))
    answer = CliRunner().invoke(app, ["predict", "--models", str(models), "--model", "mine", str(file)])
    assert answer.stdout.split("\t")[0] in LABELS
    file.write_bytes(b"no sound")
    refused = CliRunner().invoke(app, ["predict", "--models", str(models), str(file)])
    assert "wav: this is no sound file" in refused.stderr


def test_a_group_is_held_out(tmp_path: Path) -> None:
    """One speaker's records of both parts are dev; an unknown speaker is refused with the list of known ones."""
    values = {"data.hold_out": "speaker 1"}
    index = write(tmp_path, "waveform")
    data = loaded(own_recipe("classification", "mine", str(index), str(index), overrides=values))
    groups = [
        {record.group for record in part if isinstance(record, LabelledSignal)} for part in (data.train, data.dev)
    ]
    assert groups == [{"speaker 0"}, {"speaker 1"}]
    with pytest.raises(UnrollError, match="there are speaker 0, speaker 1"):
        loaded(own_recipe("classification", "mine", str(index), overrides={"data.hold_out": "nobody"}))


def test_another_kind_or_rate_than_the_recipes_is_refused() -> None:
    with pytest.raises(UnrollError, match="the recipe is for frames"):
        fit_signal_scale(SignalConfig(kind="frames"), sounds())
    with pytest.raises(UnrollError, match="8000 samples a second, the recipe is for 16000"):
        fit_signal_scale(SignalConfig(kind="waveform", sample_rate_hz=16000), sounds())


def test_a_feature_that_never_changes_keeps_its_size() -> None:
    """A feature with zero deviation is not scaled, which would amplify rounding errors."""
    still = [LabelledSignal(np.full((4, 1), 7.0, np.float32), "a", ("level",))]
    assert fit_signal_scale(SignalConfig(kind="frames"), still).deviation == (1.0,)


@pytest.mark.parametrize("kind", KINDS)
def test_the_baseline_learns_what_is_plain(kind: str) -> None:
    """The baseline separates labels that differ in level or loudness by means and deviations."""
    records = [
        record._replace(values=record.values * (1 + 9 * (number % 2)), label=str(number % 2))
        for number, record in enumerate((motions if kind == "frames" else sounds)(30))
    ]
    majority, linear = SIGNAL_EVALUATION.baselines(records[:20], records[20:])
    assert majority.measures["accuracy"] == 50.0
    assert linear.measures["accuracy"] == 100.0


@pytest.mark.parametrize("name", ["digits-en", "activity", "vowels-ja", "indoor-movement", "gestures"])
def test_shipped_recipes_name_a_signal(name: str) -> None:
    """Each shipped recipe for signals is complete, and names a public data set with a reader."""
    recipe = load_recipe(Path("training/recipes") / f"{name}.toml")
    assert recipe.signal.kind in KINDS
    assert recipe.data.dataset
