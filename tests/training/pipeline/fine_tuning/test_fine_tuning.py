"""`unroll train --from`: a published model learns further, and what it gains and forgets is told."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from service.bundle.load import load_bundle
from tests.training.cli.test_commands import refused, unroll
from tests.training.tiny_runs import settings_of, write_files
from training.fit.run_folder import RunFolder
from training.pipeline.fine_tuning.scores import parent_note
from training.preprocessing.tensor_file import read_tensors

_ANIMALS = [
    "zebras",
    "okapis",
    "quaggas",
    "lemurs",
    "ibexes",
    "tapirs",
    "otters",
    "newts",
    "toads",
    "moles",
    "voles",
    "shrews",
]
_ROWS = "1\t{}\t_\tNOUN\t_\t_\t_\t_\t_\t_\n2\toften\t_\tADV\t_\t_\t_\t_\t_\t_\n\n"
_QUICK = ["--device=cpu", "--set=training.epochs=2", "--set=training.threads=1"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published tagger, its files, and a file of new words and a new tag; and the tagger after it; read-only."""
    folder = tmp_path_factory.mktemp("home")
    train, dev = write_files("tagging", folder)
    (folder / "new.conllu").write_text("".join(map(_ROWS.format, _ANIMALS)), encoding="utf-8")
    first = ["tagging", "--train", train, "--dev", dev, "--name=mine", "--device=cpu"]
    assert unroll("train", *first, *places(folder), *settings_of("tagging", epochs=1)).exit_code == 0
    further = ["--train", folder / "new.conllu", "--old-dev", dev, "--replay", train, "--replay-share=0.5", *_QUICK]
    result = unroll("train", "--from", "mine", *further, *places(folder))
    assert result.exit_code == 0, result.output
    (folder / "stderr.txt").write_text(result.stderr, encoding="utf-8")
    return folder


def places(folder: Path) -> list[str | Path]:
    return ["--runs", folder / "runs", "--models", folder / "models"]


def test_the_next_version_knows_old_and_new(home: Path) -> None:
    """It stands beside the first, with all labels and words of both, and names its parent and the data of both."""
    first, second = (load_bundle(home / "models" / "mine" / version) for version in "12")
    assert second.manifest.labels == (*first.manifest.labels, "ADV")
    assert second.tokenizers["words"].token_id("often") == first.tokenizers["words"].vocabulary_size
    facts = second.manifest.training
    assert facts.parent is not None
    assert (facts.parent.name, facts.parent.version, facts.parent.digest) == ("mine", "1", first.digest)
    assert [source.name for source in facts.data] == ["new.conllu + train.conllu", "train.conllu"]
    card = (second.path / "README.md").read_text(encoding="utf-8")
    assert f"mine version 1 (sha256 `{first.digest}`)" in card
    assert "unroll train tagging --from models/mine/1 --train new.conllu" in card


def test_scores_before_and_after_are_told(home: Path) -> None:
    """On the new and on the old dev, in a table, in the run folder and in the manifest."""
    told = (home / "stderr.txt").read_text(encoding="utf-8")
    assert "mine version 1, before it learns:" in told
    assert "replayed with 11 new records: 11 of 40 earlier ones" in told
    note = parent_note(RunFolder(home / "runs" / "mine-from-1"))
    assert note is not None
    scores = load_bundle(home / "models" / "mine" / "2").manifest.scores
    beside = {score.split: score for score in scores if score.baseline_name == "mine version 1"}
    assert {split: score.baseline for split, score in beside.items()} == {
        split: measures["accuracy"] for split, measures in note.before.items()
    }
    for split, score in beside.items():
        assert f"{split} accuracy {score.baseline:.2f} {score.value:.2f}" in " ".join(told.split())


def test_the_rate_is_lower_than_that_of_the_parent(home: Path) -> None:
    """A quarter, unless the user says otherwise; sizes of the network are those of the parent."""
    first, second = (RunFolder(home / "runs" / name).recipe() for name in ("mine", "mine-from-1"))
    assert second.training.learning_rate == first.training.learning_rate / 4
    assert second.training.epochs == 2
    assert second.network == first.network


def test_a_frozen_encoder_keeps_its_weights(home: Path, tmp_path: Path) -> None:
    """The output layer learns; words are not added, since their vectors would not be learned."""
    further = ["--from", home / "runs" / "mine", "--train", home / "new.conllu", "--freeze=encoder", "--no-export"]
    assert unroll("train", *further, *_QUICK, *places(tmp_path)).exit_code == 0
    folder = RunFolder(tmp_path / "runs" / "mine-from-mine")
    before, after = (read_tensors(file)[0] for file in (folder.starting_weights, folder.best_weights))
    learned = {name.split(".")[0] for name in before if not before[name].equal(after[name])}
    assert learned == {"output"}
    words = RunFolder(home / "runs" / "mine").vocabulary().tokenizers["words"]
    assert folder.vocabulary().tokenizers["words"].vocabulary_size == words.vocabulary_size
    note = parent_note(folder)
    assert note is not None
    assert (note.facts.version, note.facts.frozen) == ("", "encoder")


def test_a_run_goes_on_and_can_be_repeated(home: Path, tmp_path: Path) -> None:
    """Repeated from its folder it has the same weights to the bit; a parent that has changed is refused."""
    shutil.copytree(home / "runs", tmp_path / "runs")
    again = ["retrain", "mine-from-1", "--runs", tmp_path / "runs", "--device=cpu"]
    assert unroll(*again).stdout == "the best weights of both runs are equal to the bit\n"
    config = tmp_path / "runs" / "mine-from-1" / "config.toml"
    text = config.read_text(encoding="utf-8")
    digest = RunFolder(config.parent).recipe().start.digest
    config.write_text(text.replace(digest, "0" * 64), encoding="utf-8")
    assert "has changed: its digest is" in refused(*again, "--overwrite")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["classification", "--from", "mine", "--train", "new.conllu"], "is for tagging, not for classification"),
        (["--from", "mine"], "--train is missing"),
        (["--from", "min", "--train", "new.conllu"], "did you mean mine?"),
        (["--from", ".", "--train", "new.conllu"], "is neither a bundle"),
        (["--from", "mine", "--train", "broken.csv"], "broken.csv"),
        (["--from", "mine", "--train", "new.conllu", "--freeze", "all"], "start.freeze"),
        (["--from", "mine", "--train", "new.conllu", "--replay", "gone.tsv"], "there is no file gone.tsv"),
        (
            ["--from", "mine", "--train", "new.conllu", "--replay", "new.conllu", "--replay-share", "2"],
            "start.replay_share is 2.0, but must be less than 1.0",
        ),
        (["--from", "mine", "--train", "new.conllu", "--replay", "new.conllu", "--freeze", "all"], "start.freeze"),
        (
            ["--from", "mine", "--train", "new.conllu", "--set", "network.hidden_size=9"],
            "the network must be that of mine version 1: network.hidden_size is 9, not 6. What may change: training.*",
        ),
        (
            ["--from", "mine", "--train", "new.conllu", "--set", "tokenizer.lowercase=false"],
            "tokenizer.lowercase is False, but mine version 1 has True: its tokenizer is kept",
        ),
        (["pos-en", "--freeze", "encoder"], "--freeze needs --from"),
        ([], "name a recipe"),
    ],
)
def test_bad_options_are_refused(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], sentence: str
) -> None:
    """Each with a sentence that says what is allowed, and without a run folder."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(home / "models" / "mine" / "1", tmp_path / "models" / "mine" / "1")
    shutil.copy(home / "new.conllu", tmp_path)
    (tmp_path / "broken.csv").write_text("text,label\nhello,a\n", encoding="utf-8")
    assert sentence in refused("train", *options)
    assert not any((tmp_path / "runs").glob("*/config.toml"))


def test_a_damaged_bundle_is_refused(home: Path, tmp_path: Path) -> None:
    """Before anything is trained."""
    shutil.copytree(home / "models" / "mine" / "1", tmp_path / "models" / "mine" / "1")
    graph = tmp_path / "models" / "mine" / "1" / "tagger.onnx"
    graph.write_bytes(graph.read_bytes()[:-9] + b"otherwise")
    options = ["--from", "mine", "--train", home / "new.conllu", *places(tmp_path)]
    assert "tagger.onnx: its sha256 is not the one in the manifest" in refused("train", *options)
