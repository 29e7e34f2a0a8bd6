"""A recipe derived from a user's own files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from service.bundle.task_options import TrainedTask
from service.errors import UnrollError
from tests.training.tiny_runs import TASKS, own_recipe, settings_of, write_files
from training.cli.commands import app
from training.config.networks import TaggerConfig
from training.config.recipe import ConfigFault, Recipe
from training.data import read as reading
from training.data.formats.faults import DataFault
from training.data.formats.options import ReadOptions
from training.data.records import LabelledText
from training.preprocessing.load_records import RunData, load_data
from training.tasks.catalogue import training_task


def loaded(recipe: Recipe) -> RunData:
    """The data of a recipe."""
    return load_data(training_task(recipe), recipe)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_sensible_defaults(task: TrainedTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Name and files suffice, and the files are found from any working directory afterwards."""
    train, dev = write_files(task, tmp_path)
    with monkeypatch.context() as patch:
        patch.chdir(tmp_path)
        recipe = own_recipe(task, "mine", train.name, dev.name)
    assert (recipe.task, recipe.network.task, recipe.name) == (task, task, "mine")
    assert (recipe.data.train, recipe.data.dev) == (str(train), str(dev))
    data = loaded(recipe)
    assert len(data.train) >= len(data.dev) >= 1
    assert data.remark == ""
    assert set(data.source.splits) == {f"train/{train.name}", f"dev/{dev.name}"}


@pytest.mark.parametrize("task", TASKS)
def test_a_missing_dev_part_is_split_off_and_said(task: TrainedTask, tmp_path: Path) -> None:
    """A missing dev split is cut off deterministically, its size is reported, and the parts are disjoint."""
    train, _ = write_files(task, tmp_path)
    recipe = own_recipe(task, "mine", str(train))
    data = loaded(recipe)
    assert data.remark.startswith("No dev file: ")
    assert data == loaded(recipe)
    assert not set(data.train) & set(data.dev)
    assert data.train
    assert data.dev


def test_the_size_of_the_split_can_be_chosen(tmp_path: Path) -> None:
    """`data.dev_percent` sets the size of the dev split."""
    train, _ = write_files("generation", tmp_path)
    parts = {
        percent: loaded(own_recipe("generation", "mine", str(train), overrides={"data.dev_percent": percent}))
        for percent in (10, 40)
    }
    sizes = {percent: len(data.dev[0][0]) for percent, data in parts.items()}
    assert sizes[40] > 3 * sizes[10]


def test_spans_get_a_crf_and_plain_tags_do_not(tmp_path: Path) -> None:
    """Span tags select a CRF and plain tags do not, unless the user overrides it."""
    spans, plain = tmp_path / "spans.conll", tmp_path / "plain.conll"
    spans.write_text("Ada B-PER\nLovelace I-PER\nwrote O\n\n", encoding="utf-8")
    plain.write_text("Ada PROPN\nwrote VERB\n\n", encoding="utf-8")
    decoders = [own_recipe("tagging", "mine", str(path)).network for path in (spans, plain)]
    changed = own_recipe("tagging", "mine", str(spans), overrides={"network.decoder": "softmax"}).network
    assert [network.decoder for network in (*decoders, changed) if isinstance(network, TaggerConfig)] == [
        "crf", "softmax", "softmax",
    ]  # fmt: skip


def test_two_aligned_files_are_one_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`a.en,a.de` is two paths, each made absolute, and both are in the name of the source."""
    monkeypatch.chdir(tmp_path)
    for name, text in (("a.en", "one\ntwo\n"), ("a.de", "eins\nzwei\n")):
        (tmp_path / name).write_text(text, encoding="utf-8")
    recipe = own_recipe("translation", "mine", "a.en, a.de", "a.en,a.de")
    assert recipe.data.train == f"{tmp_path / 'a.en'},{tmp_path / 'a.de'}"
    data = loaded(recipe)
    assert data.train[0] == ("one", "eins")
    assert data.source.name == "a.en, a.de"
    assert {name.partition("/")[2] for name in data.source.splits} == {"a.en", "a.de"}


def test_a_comma_in_a_file_name_is_no_separator(tmp_path: Path) -> None:
    """An existing file whose name contains a comma is one file."""
    path = tmp_path / "yes,no.csv"
    path.write_text("text,label\nhello,x\nbye,y\n", encoding="utf-8")
    recipe = own_recipe("classification", "mine", str(path), str(path))
    assert recipe.data.train == str(path)
    assert len(loaded(recipe).train) == 2


def test_columns_go_into_the_recipe(tmp_path: Path) -> None:
    """The given columns are stored in the recipe, so that a resumed run uses them."""
    path = tmp_path / "a.csv"
    path.write_text("kind,note,words\nx,1,hello there\ny,2,good bye\n", encoding="utf-8")
    read = ReadOptions(text_column="words", label_column="kind")
    recipe = own_recipe("classification", "mine", str(path), str(path), read)
    assert recipe.data.read == read
    assert loaded(recipe).train[0] == LabelledText("hello there", "x")


def test_a_name_is_needed(tmp_path: Path) -> None:
    """A missing name is refused, and the message names the option."""
    train, _ = write_files("tagging", tmp_path)
    with pytest.raises(ConfigFault, match="--name is missing"):
        own_recipe("tagging", "", str(train))


def test_a_file_of_the_wrong_kind_is_named(tmp_path: Path) -> None:
    """A missing file and one without labels are refused with their path."""
    with pytest.raises(DataFault, match=r"nowhere\.conllu"):
        own_recipe("tagging", "mine", str(tmp_path / "nowhere.conllu"))
    path = tmp_path / "prose.csv"
    path.write_text("just some prose\nand more\n", encoding="utf-8")
    with pytest.raises(DataFault, match=r"prose\.csv"):
        loaded(own_recipe("classification", "mine", str(path)))


def test_too_little_to_split_is_said(tmp_path: Path) -> None:
    """A single record cannot be split into train and dev."""
    path = tmp_path / "a.csv"
    path.write_text("text,label\nhello,x\n", encoding="utf-8")
    with pytest.raises(UnrollError, match="fewer than two different texts"):
        loaded(own_recipe("classification", "mine", str(path)))


@pytest.mark.parametrize(("num_sentences", "epochs"), [(50, 100), (800, 40), (20_000, 20)])
def test_a_small_file_is_trained_for_more_epochs(tmp_path: Path, num_sentences: int, epochs: int) -> None:
    """Small files get more epochs by default, as fifty sentences make only four updates per epoch."""
    file = tmp_path / "train.conll"
    file.write_text("a\tX\nb\tY\n\n" * num_sentences, encoding="utf-8")
    assert own_recipe("tagging", "mine", str(file)).training.epochs == epochs


@pytest.mark.parametrize("command", ["train", "find-lr"])
def test_a_training_file_is_parsed_once(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The records that the defaults are derived from are the training records, parsed once."""
    train, dev = write_files("tagging", tmp_path)
    parsed: list[str] = []

    def counting(task: TrainedTask, path: str | Path, *rest: Any) -> Any:
        parsed.append(str(path))
        return original(task, path, *rest)

    original = reading.read_located
    monkeypatch.setattr(reading, "read_located", counting)
    options = ["--train", str(train), "--dev", str(dev), "--name=mine", f"--runs={tmp_path / 'runs'}", "--device=cpu"]
    own = ["--no-export"] if command == "train" else ["--steps=5"]
    done = CliRunner().invoke(app, [command, "tagging", *options, *own, *settings_of("tagging", epochs=1)])
    assert done.exit_code == 0, done.output
    assert parsed.count(str(train)) == 1
    assert parsed.count(str(dev)) == 1
