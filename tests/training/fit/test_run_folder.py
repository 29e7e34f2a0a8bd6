"""The run folder: every file that users and later commands read is present and correct."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from service.bundle.manifest import DataSource
from service.errors import UnrollError
from tests.training.tiny_runs import own_recipe, tiny_recipe
from training.config.recipe import Recipe, load_recipe
from training.data.records import LabelledSignal
from training.fit import run_folder
from training.fit.checkpoint import Progress
from training.fit.curves import draw_curves
from training.fit.run_folder import RunFolder, RunFolderFault
from training.pipeline.run import Run, choose_device, open_run, prepare_run, start_run, train_run
from training.preprocessing.signal_values import wav_file
from training.preprocessing.vocabulary import Vocabulary, fit_characters, fit_words

SOURCE = DataSource(name="made", licence="none", splits={"train/a.csv": "1" * 64, "dev/b.csv": "2" * 64})


@pytest.fixture(scope="module", autouse=True)
def curves() -> None:
    """Draw curves: the picture is tested here."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A classifier trained for three epochs; read-only."""
    folder = tmp_path_factory.mktemp("finished")
    recipe = tiny_recipe("classification", folder / "data", epochs=3, learning_rate=1e-5, batch_size=2)
    run = start_run(prepare_run(recipe), folder / "run")
    train_run(run, choose_device("cpu"))
    return run


def folder_of(path: Path, recipe: Recipe, overwrite: bool = False) -> RunFolder:
    vocabulary = Vocabulary({"text": fit_words([["a", "b"]], recipe.tokenizer)}, ("x", "y"))
    return RunFolder.create(path, recipe, vocabulary, SOURCE, overwrite)


def test_the_config_reads_back_equal(finished: Run) -> None:
    """config.toml is the effective recipe including defaults, and small numbers are preserved."""
    assert load_recipe(finished.folder.path / "config.toml") == finished.recipe
    assert finished.folder.recipe() == finished.recipe
    assert "patience = " in (finished.folder.path / "config.toml").read_text(encoding="utf-8")


def test_metrics_are_lines_of_json(finished: Run) -> None:
    """Each epoch has one line with loss and dev measures, and step lines have gradient norm and learning rate."""
    rows = [json.loads(line) for line in finished.folder.metrics.read_text(encoding="utf-8").splitlines()]
    epochs = [row for row in rows if row["kind"] == "epoch"]
    assert [(row["epoch"], row["step"]) for row in epochs] == [(1, 20), (2, 40), (3, 60)]
    assert all({"loss", "minutes", "best", "dev_loss", "dev_accuracy"} <= row.keys() for row in epochs)
    (step,) = (row for row in rows if row["kind"] == "step")
    assert step.keys() == {"kind", "step", "loss", "gradient_norm", "learning_rate"}
    assert step["step"] == 50


def test_curves_are_a_picture(finished: Run) -> None:
    """curves.png is a PNG with the width of its four plots, and not a single colour."""
    from matplotlib import image

    pixels = image.imread(finished.folder.path / "curves.png")
    assert pixels.shape[1] > 4 * 300
    assert pixels.std() > 0.05


def test_epochs_are_a_table_too(finished: Run) -> None:
    """metrics.csv has one row per epoch with the numbers of metrics.jsonl."""
    rows = [json.loads(line) for line in finished.folder.metrics.read_text(encoding="utf-8").splitlines()]
    with (finished.folder.path / "metrics.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    epochs = [row for row in rows if row["kind"] == "epoch"]
    assert [{key: str(value) for key, value in row.items() if key != "kind"} for row in epochs] == table


def test_the_environment_is_noted(finished: Run) -> None:
    """The versions of the compute libraries are recorded."""
    assert finished.folder.environment()["torch"] == torch.__version__
    assert "hardware" in finished.folder.environment()


def test_nothing_is_drawn_before_the_first_epoch(tmp_path: Path) -> None:
    """A run that ended before its first epoch has no curves."""
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_text('{"kind": "step", "step": 1, "loss": 1.0}\n', encoding="utf-8")
    draw_curves(metrics, tmp_path / "curves.png")
    assert not (tmp_path / "curves.png").exists()


def test_samples_are_kept_for_each_epoch(finished: Run) -> None:
    """Every epoch has example predictions with their references."""
    text = finished.folder.samples.read_text(encoding="utf-8")
    assert [line for line in text.splitlines() if line.startswith("epoch")] == ["epoch 1", "epoch 2", "epoch 3"]
    assert finished.data.dev[0][0] in text
    assert " -> " in text


def test_tensorboard_has_the_same_curves(finished: Run) -> None:
    """TensorBoard's own reader finds loss and dev measures at the steps where epochs ended."""
    events = EventAccumulator(str(finished.folder.path / "tensorboard"))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {"train/loss", "dev/loss", "dev/accuracy", "dev/f1"}
    assert [event.step for event in events.Scalars("dev/accuracy")] == [20, 40, 60]
    rows = [json.loads(line) for line in finished.folder.metrics.read_text(encoding="utf-8").splitlines()]
    losses = [row["dev_loss"] for row in rows if row["kind"] == "epoch"]
    assert [event.value for event in events.Scalars("dev/loss")] == pytest.approx(losses)


def test_an_opened_run_is_the_run(finished: Run) -> None:
    """The folder alone restores the recipe, tokenizers, labels, data, and a network that the weights fit."""
    again = open_run(finished.folder.path)
    assert again.recipe == finished.recipe
    assert again.vocabulary.labels == finished.vocabulary.labels
    assert (again.data.train, again.data.dev) == (finished.data.train, finished.data.dev)
    assert again.data.source == finished.data.source
    text = finished.data.train[0][0]
    assert again.vocabulary.tokenizers["text"].encode(text) == finished.vocabulary.tokenizers["text"].encode(text)
    assert [p.shape for p in again.network.parameters()] == [p.shape for p in finished.network.parameters()]


def test_a_run_is_not_written_over_by_chance(tmp_path: Path) -> None:
    """A folder with a checkpoint is refused with both ways out, and nothing in it is changed."""
    recipe = tiny_recipe("classification", tmp_path / "data")
    folder = folder_of(tmp_path / "run", recipe)
    folder.checkpoint.write_bytes(b"precious")
    with pytest.raises(RunFolderFault, match=r"unroll resume .*--overwrite"):
        folder_of(tmp_path / "run", recipe.model_copy(update={"seed": 9}))
    assert folder.checkpoint.read_bytes() == b"precious"
    assert folder.recipe().seed == recipe.seed


def test_overwriting_leaves_nothing_of_the_old_run(tmp_path: Path) -> None:
    """Overwriting a run removes its weights, logs, curves and tokenizers of other roles."""
    recipe = tiny_recipe("classification", tmp_path / "data")
    path = tmp_path / "run"
    old = RunFolder.create(path, recipe, Vocabulary({"words": fit_characters("ab")}), SOURCE)
    (path / "tensorboard").mkdir()
    for name in ("last.safetensors", "best.safetensors", "metrics.jsonl", "curves.png", "tensorboard/events.1"):
        (path / name).write_bytes(b"old")
    new = folder_of(path, recipe, overwrite=True)
    names = {file.name for file in path.iterdir()}
    assert names == {"config.toml", "tokenizer-text.json", "labels.json", "data.json", "environment.json"}
    assert new.vocabulary().tokenizers.keys() == {"text"}
    assert old.path == new.path


def test_a_folder_without_config_is_no_run(tmp_path: Path) -> None:
    """A folder without config.toml is refused, and the message names the missing file."""
    with pytest.raises(RunFolderFault, match=r"is not a run folder: it has no config\.toml"):
        open_run(tmp_path)


def test_labels_of_any_spelling_come_back(tmp_path: Path) -> None:
    """Labels with spaces, quotes, line ends and any script are restored in the same order."""
    labels = (" a b ", "", 'say "x"', "line\nend", "\u2028", "\x85", "日本", "\\n")
    recipe = tiny_recipe("classification", tmp_path / "data")
    vocabulary = Vocabulary({"text": fit_characters("ab")}, labels)
    assert RunFolder.create(tmp_path / "run", recipe, vocabulary, SOURCE).vocabulary().labels == labels


def test_shared_tokenizers_are_shared_again(tmp_path: Path) -> None:
    """Two roles of one tokenizer share one object after loading; different tokenizers stay separate."""
    recipe = tiny_recipe("translation", tmp_path / "data")
    joint = fit_characters("ab")
    shared = Vocabulary({"source": joint, "target": joint})
    tokenizers = RunFolder.create(tmp_path / "a", recipe, shared, SOURCE).vocabulary().tokenizers
    assert tokenizers["source"] is tokenizers["target"]
    apart = Vocabulary({"source": joint, "target": fit_characters("abc")})
    tokenizers = RunFolder.create(tmp_path / "b", recipe, apart, SOURCE).vocabulary().tokenizers
    assert tokenizers["source"].vocabulary_size != tokenizers["target"].vocabulary_size


def test_changed_data_is_noticed(tmp_path: Path) -> None:
    """A data file that changed since the run began is named before training starts."""
    recipe = tiny_recipe("classification", tmp_path / "data")
    start_run(prepare_run(recipe), tmp_path / "run")
    open_run(tmp_path / "run")
    with (tmp_path / "data" / "train.csv").open("a", encoding="utf-8") as file:
        file.write("the cat sees,cat\n")
    with pytest.raises(RunFolderFault, match=r"train/train\.csv changed since"):
        open_run(tmp_path / "run")


def test_rewinding_forgets_what_will_be_logged_again(tmp_path: Path) -> None:
    """Rewinding removes log lines after the checkpoint and a truncated last line, and is idempotent."""
    folder = folder_of(tmp_path / "run", tiny_recipe("classification", tmp_path / "data"))
    for epoch in (1, 2, 3):
        folder.log("step", {"step": epoch * 10 - 5, "loss": 1.0})
        folder.log("epoch", {"step": epoch * 10, "epoch": epoch})
    whole = folder.metrics.read_text(encoding="utf-8").splitlines(keepends=True)
    with folder.metrics.open("a", encoding="utf-8") as file:
        file.write('{"kind": "st')
    folder.rewind(Progress(epoch=3, step=30))
    assert folder.metrics.read_text(encoding="utf-8") == "".join(whole)
    # The last update of the second epoch is in the checkpoint, its dev score is not.
    for _ in range(2):
        folder.rewind(Progress(epoch=1, batch=5, step=20))
        assert folder.metrics.read_text(encoding="utf-8") == "".join(whole[:3])


def shown(terminal: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The output for three updates of an epoch and its end."""
    monkeypatch.setattr(run_folder, "PLAIN_LINE_EVERY_S", -1.0)
    monkeypatch.setattr(run_folder, "draw_curves", lambda *_: None)
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=120)
    folder = RunFolder(tmp_path, console)
    progress = Progress(epoch=1, step=6)
    with folder.progress_bar(progress, batches=3, epochs=8) as bar:
        for batch in (1, 2, 3):
            progress.batch, progress.epoch_loss = batch, 0.5
            bar.advance(0.5, 1.25, 0.002)
    folder.log_epoch(progress, {"accuracy": 91.25}, ("a [/b] -> c",), better=True)
    return out.getvalue()


def test_plain_lines_where_there_is_no_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal, plain lines have position, loss, norm, rate, speed and remaining time."""
    text = shown(False, monkeypatch, tmp_path)
    lines = text.splitlines()
    assert len(lines) == 5
    assert lines[0].startswith("epoch 2/8  1/3  loss 0.5000  norm 1.25  rate 0.002  ")
    assert lines[0].endswith(" s left in this epoch")
    assert "batches/s" in lines[0]
    assert lines[3] == "epoch   2  loss 0.5000  dev accuracy 91.25  (best so far, 0.0 min)"
    assert lines[4] == "    a [/b] -> c"
    assert "\x1b" not in text
    assert "\r" not in text


def test_a_bar_on_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal gets a progress bar that rewrites its line, and a line at the end of each epoch."""
    text = shown(True, monkeypatch, tmp_path)
    assert "━" in text
    assert "3/3" in text
    assert "\x1b[" in text
    assert "dev accuracy 91.25" in text
    assert "left in this epoch" not in text


@pytest.mark.parametrize(
    ("wanted", "cuda", "chosen"), [("auto", False, "cpu"), ("auto", True, "cuda"), ("cpu", True, "cpu")]
)
def test_the_device_is_what_was_asked_for(
    wanted: str, cuda: bool, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`auto` selects a GPU where there is one."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    assert choose_device(wanted).type == chosen


@pytest.mark.parametrize("wanted", ["cuda", "gpu", "cuda:1", ""])
def test_a_device_that_is_not_there_is_an_error(wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA without a GPU and unknown device names are errors, never a fallback to the CPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    choose: Callable[[str], torch.device] = choose_device
    with pytest.raises(UnrollError, match=f"--device {wanted}:"):
        choose(wanted)


def test_exchanged_sounds_are_noticed(tmp_path: Path) -> None:
    """Two sounds that changed places between two labels are noticed when the run is opened again."""
    for label, level in (("a", 0.2), ("b", 0.6)):
        (tmp_path / "sounds" / label).mkdir(parents=True)
        for number in range(6):
            sound = LabelledSignal(np.full(800, level + number / 100, np.float32), label, (), 8000)
            (tmp_path / "sounds" / label / f"{number}.wav").write_bytes(wav_file(sound))
    sizes = {"network.hidden_size": 4, "network.layers": 1, "signal.channels": [4], "training.threads": 1}
    recipe = own_recipe("classification", "mine", str(tmp_path / "sounds"), overrides=sizes)
    start_run(prepare_run(recipe), tmp_path / "run")
    open_run(tmp_path / "run")
    one, other = (tmp_path / "sounds" / label / "1.wav" for label in "ab")
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    with pytest.raises(RunFolderFault, match=r"train/sounds/ \(12 files\) changed since"):
        open_run(tmp_path / "run")
