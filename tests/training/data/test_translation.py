"""Parallel sentences: one file per language, and the direction chosen by one line of a recipe."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from tests.allowed_skips import NO_DATA
from training.config.recipe import parse_recipe
from training.data.formats.faults import DataFault
from training.data.formats.options import ReadOptions
from training.data.read import read_records, split_paths
from training.data.records import SentencePair
from training.evaluation.tasks.catalogue import EVALUATION_TASKS
from training.preprocessing.load_records import RunData, load_data

_FRENCH_TO_ENGLISH = ReadOptions(source_column="fr", target_column="en")


def load(data: dict[str, object]) -> RunData:
    """Load the data of a recipe for translation with this data table."""
    recipe = parse_recipe({"name": "x", "task": "translation", "data": data}, "x.toml")
    return load_data(EVALUATION_TASKS["translation"], recipe)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with three languages, one of them compressed."""
    (tmp_path / "train.en").write_text("one\ntwo\n", encoding="utf-8")
    (tmp_path / "train.de").write_text("eins\nzwei\n", encoding="utf-8")
    (tmp_path / "train.fr.gz").write_bytes(gzip.compress(b"un\ndeux\n"))
    return tmp_path


def test_columns_name_the_files_of_two_languages(folder: Path) -> None:
    """`train` with the columns fr and en reads train.fr.gz and train.en; swapping the columns swaps the direction."""
    found = read_records("translation", folder / "train", _FRENCH_TO_ENGLISH)
    assert found == [SentencePair("un", "one"), SentencePair("deux", "two")]
    turned = ReadOptions(source_column="en", target_column="de")
    assert read_records("translation", folder / "train", turned)[0] == SentencePair("one", "eins")


def test_a_language_that_is_not_there_is_named(folder: Path) -> None:
    """The fault names the missing file, not the stem."""
    with pytest.raises(DataFault, match=r"train\.nl: no such file"):
        read_records("translation", folder / "train", ReadOptions(source_column="en", target_column="nl"))


def test_a_table_is_never_taken_for_a_stem(folder: Path) -> None:
    """An existing path is read as one file, whatever its siblings; a stem without columns is a missing file."""
    table = folder / "train"
    table.write_text("fr\ten\nun\tone\n", encoding="utf-8")
    assert split_paths(table, _FRENCH_TO_ENGLISH) == (table,)
    table.unlink()
    assert split_paths(table) == (table,)


def test_ones_own_languages_are_known_by_their_content(folder: Path) -> None:
    """A run on the user's own files records the digests of both languages, so that resuming detects a change."""
    read = {"source_column": "en", "target_column": "fr"}
    data = {"train": str(folder / "train"), "dev": str(folder / "train"), "read": read}
    loaded = load_data(
        EVALUATION_TASKS["translation"], parse_recipe({"name": "x", "task": "translation", "data": data}, "x.toml")
    )
    assert set(loaded.source.splits) == {f"{part}/train.{end}" for part in ("train", "dev") for end in ("en", "fr.gz")}
    assert loaded.source.name == "train.en, train.fr.gz"


@pytest.mark.parametrize(
    ("name", "columns", "first"),
    [
        ("multi30k", {}, ("A group of men", "Eine Gruppe von")),
        ("multi30k", {"target_column": "fr"}, ("A group of men", "Un groupe d'hommes")),
        ("multi30k", {"source_column": "fr", "target_column": "en"}, ("Un groupe d'hommes", "A group of men")),
        ("tatoeba_en_de", {"source_column": "de", "target_column": "en"}, ("Mach mit!", "Hop in.")),
    ],
)
def test_a_named_set_is_read_in_any_direction(
    name: str, columns: dict[str, str], first: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recipe's columns override those of the catalogue."""
    if not (Path(os.environ.get("UNROLL_DATA_DIR", "")) / name / "README.md").is_file():
        pytest.skip(f"{NO_DATA}: {name}")
    data = {"dataset": name, "read": columns}
    turned = load_data(
        EVALUATION_TASKS["translation"], parse_recipe({"name": "x", "task": "translation", "data": data}, "x.toml")
    ).dev[0]
    assert isinstance(turned, SentencePair)
    assert turned.source.startswith(first[0])
    assert turned.target.startswith(first[1])
