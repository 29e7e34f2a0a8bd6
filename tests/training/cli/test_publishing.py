"""Publishing and going on: a published version is never replaced, a stopped run goes on, and nothing private leaves."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import pytest

from service.bundle.load import load_bundle
from service.bundle.manifest import Manifest
from service.bundle.models_folder import SET_ASIDE_FOLDER
from tests.training.cli.test_commands import refused, unroll
from tests.training.tiny_runs import settings_of
from training.fit import run_folder
from training.fit.checkpoint import previous_of
from training.fit.run_lock import locked_run
from training.fit.trainer import Trainer
from training.publish import export

WORDS = ("pay", "bill", "card", "sum", "log", "key", "page", "bug", "my", "the", "is", "a", "to", "of")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with private mails, a finished run of them and its bundle; read-only."""
    folder = tmp_path_factory.mktemp("home")
    rows = [f"{' '.join(WORDS[(n * k) % 14] for k in (1, 3, 5, 7))} secret{n},{'ab'[n % 2]}" for n in range(60)]
    (folder / "mails.csv").write_text("\n".join(["text,label", *rows]) + "\n", encoding="utf-8")
    result = unroll(*train(folder, folder))
    assert result.exit_code == 0, result.output
    (folder / "stderr.txt").write_text(result.stderr, encoding="utf-8")
    return folder


def train(home: Path, place: Path, *more: str | Path, epochs: int = 1) -> list[str | Path]:
    """The command that trains on the mails of `home` and writes into `place`."""
    files = ["--train", home / "mails.csv", "--name", "mine", "--device=cpu"]
    places = ["--runs", place / "runs", "--models", place / "models"]
    return ["train", "classification", *files, *places, *settings_of("classification", epochs=epochs), *more]


def places_of(folder: Path) -> list[str | Path]:
    return ["--runs", folder / "runs", "--models", folder / "models"]


@pytest.fixture
def copy(home: Path, tmp_path: Path) -> Path:
    """A copy of the run and of its bundle, to be changed."""
    shutil.copytree(home / "runs", tmp_path / "runs")
    shutil.copytree(home / "models", tmp_path / "models")
    return tmp_path


def versions(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "models" / "mine").iterdir())


def test_no_record_is_given_away(home: Path) -> None:
    """Neither card, nor examples, nor manifest hold a record; the run folder may."""
    bundle = home / "models" / "mine" / "1"
    rows = (home / "mails.csv").read_text(encoding="utf-8").splitlines()[1:]
    for file in ("README.md", "examples.jsonl", "manifest.json"):
        text = (bundle / file).read_text(encoding="utf-8")
        assert "secret" not in text
        assert not any(row.partition(",")[0] in text for row in rows)
    assert "secret" in (home / "runs" / "mine" / "samples.txt").read_text(encoding="utf-8")
    assert len(load_bundle(bundle).examples) == 4


def test_examples_can_be_chosen(home: Path, tmp_path: Path) -> None:
    """Those of a file, or those of dev when asked for; a file without a line is refused."""
    (tmp_path / "inputs.txt").write_text('my bill\n\nthe bug is "big"\n', encoding="utf-8")
    chosen = train(home, tmp_path, "--examples", tmp_path / "inputs.txt")
    assert unroll(*chosen).exit_code == 0
    examples = load_bundle(tmp_path / "models" / "mine" / "1").examples
    assert [example.inputs for example in examples] == ["my bill", 'the bug is "big"']
    assert unroll(*train(home, tmp_path, "--examples-from-dev", "--overwrite")).exit_code == 0
    examples = load_bundle(tmp_path / "models" / "mine" / "2").examples
    assert all("secret" in example.inputs for example in examples)
    (tmp_path / "inputs.txt").write_text("\n \n", encoding="utf-8")
    assert "it holds no line" in refused(*chosen, "--overwrite")


def test_the_verdict_comes_with_intervals(home: Path) -> None:
    """Scores have intervals, in words, in the manifest and in `evaluate --json`; the verdict names the baseline."""
    said = (home / "stderr.txt").read_text(encoding="utf-8")
    assert "verdict: " in said
    assert "[95 %: " in said
    assert "dev holds only 6 records" in said
    manifest: Manifest = load_bundle(home / "models" / "mine" / "1").manifest
    assert manifest.scores[0].detail.startswith("95 %: ")
    result = unroll("evaluate", "mine", home / "mails.csv", "--models", home / "models", "--json")
    scores = json.loads(result.stdout)
    low, high = scores["interval_95"]["accuracy"]
    assert low <= scores["accuracy"] <= high


def test_a_published_version_stays(copy: Path, home: Path) -> None:
    """`train --overwrite` and `export` publish new versions and say so; the old one is unchanged to the byte."""
    before = load_bundle(copy / "models" / "mine" / "1").digest
    result = unroll(*train(home, copy, "--overwrite"))
    assert result.exit_code == 0, result.output
    assert "was published before and stays" in result.stderr
    assert result.stdout.startswith(f"published {copy / 'models' / 'mine' / '2'}")
    assert load_bundle(copy / "models" / "mine" / "2").manifest.version == "2"
    assert "version 2" in (copy / "models" / "mine" / "2" / "README.md").read_text(encoding="utf-8")
    shutil.move(copy / "models" / "mine" / "2", copy / "models" / "mine" / "7")
    assert unroll("export", "mine", *places_of(copy)).exit_code == 0
    assert versions(copy) == ["1", "7", "8"]
    assert load_bundle(copy / "models" / "mine" / "1").digest == before


def test_a_version_that_was_set_aside_keeps_its_number(copy: Path) -> None:
    """After a rollback from version 2, the next version is 3, so that version 2 can come back."""
    aside = copy / "models" / "mine" / SET_ASIDE_FOLDER
    aside.mkdir()
    shutil.copytree(copy / "models" / "mine" / "1", aside / "2")
    assert unroll("export", "mine", *places_of(copy)).exit_code == 0
    assert (copy / "models" / "mine" / "3").is_dir()
    assert not (copy / "models" / "mine" / "2").exists()


def test_a_version_that_appears_meanwhile_stays_too(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where another process publishes the version that was free at the start, the next one is taken."""
    monkeypatch.setattr(export, "free_version", _once_wrong(export.free_version))
    assert unroll("export", "mine", *places_of(copy)).exit_code == 0
    assert versions(copy) == ["1", "2"]


def _once_wrong(free_version):  # type: ignore[no-untyped-def]
    answers = iter(["1"])
    return lambda *arguments: next(answers, None) or free_version(*arguments)


def test_only_what_beats_its_baseline(home: Path, tmp_path: Path) -> None:
    """With --publish-if-better a worse model is not published, the status is 1, and the way out is named."""
    result = unroll(*train(home, tmp_path, "--publish-if-better", "--set=training.learning_rate=1e-9"))
    assert result.exit_code == 1
    assert "does not beat the baseline" in result.stderr
    assert f"unroll export {tmp_path / 'runs' / 'mine'}" in result.stderr
    assert not list((tmp_path / "models").rglob("manifest.json"))
    assert unroll("export", "mine", *places_of(tmp_path)).exit_code == 0
    assert versions(tmp_path) == ["1"]


def test_a_finished_run_is_not_published_again(copy: Path) -> None:
    """`resume` of a published run changes nothing and says so, also of a run of an older version, without notes."""
    for _ in range(2):
        result = unroll("resume", "mine", *places_of(copy))
        assert result.exit_code == 0
        assert "is finished" in result.stderr
        assert str(copy / "models" / "mine" / "1") in result.stderr
        assert versions(copy) == ["1"]
        (copy / "runs" / "mine" / "published.json").unlink(missing_ok=True)
    shutil.rmtree(copy / "models" / "mine")
    assert unroll("resume", "mine", *places_of(copy)).exit_code == 0
    assert versions(copy) == ["1"]


def test_a_full_disk_while_publishing(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence names the command that publishes later, nothing half is left, and `resume` publishes then."""
    shutil.rmtree(copy / "models")
    (copy / "runs" / "mine" / "published.json").unlink()

    def full(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "classifier.onnx")

    with monkeypatch.context() as patch:
        patch.setattr(export, "write_graphs", full)
        said = refused("export", "mine", *places_of(copy))
    assert "not published: classifier.onnx: the disk is full" in said
    assert f"unroll export {copy / 'runs' / 'mine'}" in said
    assert not list((copy / "models").rglob("*"))
    assert unroll("resume", "mine", *places_of(copy)).exit_code == 0
    assert versions(copy) == ["1"]


def test_a_full_disk_while_training(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run stops with the command that continues it, which gives the weights of a run without a stop."""
    draw = run_folder.draw_curves

    def full(metrics: Path, picture: Path) -> None:
        if len(metrics.read_text(encoding="utf-8").splitlines()) > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(picture))
        draw(metrics, picture)

    with monkeypatch.context() as patch:
        patch.setattr(run_folder, "draw_curves", full)
        said = refused(*train(home, tmp_path, epochs=3))
    assert "the run has stopped" in said
    assert "the disk is full" in said
    assert f"unroll resume {tmp_path / 'runs' / 'mine'}" in said
    assert unroll("resume", "mine", *places_of(tmp_path)).exit_code == 0
    assert unroll(*train(home, tmp_path / "straight", epochs=3)).exit_code == 0
    weights = [folder / "runs" / "mine" / "best.safetensors" for folder in (tmp_path, tmp_path / "straight")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_a_run_that_is_in_use_is_refused(copy: Path, home: Path) -> None:
    """`train` and `resume` are refused while another training holds the folder, before they touch it."""
    with locked_run(copy / "runs" / "mine"):
        for command in (train(home, copy, "--overwrite"), ["resume", "mine", *places_of(copy)]):
            assert f"in use by process {os.getpid()}" in refused(*command)
    assert unroll("resume", "mine", *places_of(copy)).exit_code == 0


def test_a_run_without_a_checkpoint_says_how_to_start_again(copy: Path) -> None:
    """Stopped before the first checkpoint, or with damaged ones only: the command in the message works."""
    folder = copy / "runs" / "mine"
    shutil.rmtree(copy / "models")
    for file in (folder / "last.safetensors", previous_of(folder / "last.safetensors")):
        file.write_bytes(b"")
    said = refused("resume", "mine", *places_of(copy))
    assert "damaged" in said
    assert f"`unroll train {folder / 'config.toml'} --overwrite`" in said
    (folder / "last.safetensors").unlink()
    previous_of(folder / "last.safetensors").unlink()
    said = refused("resume", "mine", *places_of(copy))
    assert "stopped before its first checkpoint" in said
    assert f"`unroll train {folder / 'config.toml'}`" in said
    assert unroll("train", folder / "config.toml", *places_of(copy)).exit_code == 0
    assert versions(copy) == ["1"]


def test_a_killed_run_goes_on_from_the_checkpoint_before(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copy: Path
) -> None:
    """A process that dies leaves a run that goes on, also if its last checkpoint is damaged."""
    save = Trainer._save

    def dying(self: Trainer) -> None:
        if self.progress.epoch == 3:
            raise KeyboardInterrupt
        save(self)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_save", dying)
        assert unroll(*train(home, tmp_path / "killed", epochs=4)).exit_code
    folder = tmp_path / "killed" / "runs" / "mine"
    whole = (folder / "last.safetensors").read_bytes()
    (folder / "last.safetensors").write_bytes(whole[:-9] + bytes([whole[-9] ^ 16]) + whole[-8:])
    result = unroll("resume", "mine", *places_of(tmp_path / "killed"))
    assert result.exit_code == 0, result.output
    assert "the previous checkpoint is used (epoch 2" in result.stderr
    assert unroll(*train(home, tmp_path / "straight", epochs=4)).exit_code == 0
    straight = tmp_path / "straight" / "runs" / "mine"
    assert (folder / "best.safetensors").read_bytes() == (straight / "best.safetensors").read_bytes()


@pytest.mark.parametrize("option", ["--runs", "--models"])
def test_a_folder_that_cannot_be_written_to_is_told_before_training(option: str, home: Path, tmp_path: Path) -> None:
    """A file where a folder should be is told with the option, and no run folder is made."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    said = refused(*train(home, tmp_path), option, tmp_path / "file" / "deep")
    assert f"is a file, not a folder; {option} names another one" in said
    assert not (tmp_path / "runs").exists()


def test_what_the_run_knows_need_not_be_said_again(tmp_path: Path) -> None:
    """`evaluate` takes the columns of the training, other ones where a file has other names, and options first."""
    rows = [f"{n},{WORDS[n % 14]} it{n},x{n},{'ab'[n % 2]},y" for n in range(30)]
    for name, head in (("train", "id,words,other,kind,rest"), ("renamed", "id,text,other,label,rest")):
        (tmp_path / f"{name}.csv").write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    columns = ["--column", "text=words", "--column", "label=kind"]
    files = ["--train", tmp_path / "train.csv", "--name", "mine", *places_of(tmp_path), "--device=cpu", *columns]
    assert unroll("train", "classification", *files, *settings_of("classification", epochs=1)).exit_code == 0
    models = ["--models", tmp_path / "models", "--json"]
    found = [unroll("evaluate", "mine", tmp_path / f"{name}.csv", *models) for name in ("train", "renamed")]
    scores = [json.loads(result.stdout) for result in found]
    assert scores[0] == scores[1]
    wrong = json.loads(unroll("evaluate", "mine", tmp_path / "train.csv", "--column", "label=other", *models).stdout)
    assert len(wrong["unknown_labels"]) == 10
    assert (wrong["unknown_labels_count"], wrong["records_of_unknown_labels"]) == (30, 30)
