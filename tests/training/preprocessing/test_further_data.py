"""`data.also`: further training data of a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.errors import UnrollError
from training.config.recipe import ConfigFault, Recipe, parse_recipe
from training.data.records import Utterance
from training.evaluation.tasks.catalogue import EVALUATION_TASKS
from training.preprocessing.further_data import times_read
from training.preprocessing.load_records import load_data, load_dev
from training.synthesis.sound import wave_bytes

TASK = EVALUATION_TASKS["transcription"]


def table_of(folder: Path, name: str, *texts: str) -> Path:
    """A table of sounds of silence, one a text, by the speakers `a`, `b` in turn."""
    folder.mkdir(exist_ok=True)
    rows = ["file\tspeaker\ttext"]
    for number, text in enumerate(texts):
        (folder / f"{name}{number}.wav").write_bytes(wave_bytes(np.zeros(1600 + number, np.float32), 8000))
        rows.append(f"{name}{number}.wav\t{'ab'[number % 2]}\t{text}")
    path = folder / f"{name}.tsv"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def recipe_of(folder: Path, also: list[str], **data: Any) -> Recipe:
    files = {"train": str(table_of(folder, "train", "one", "two", "three", "four"))}
    files["dev"] = str(table_of(folder, "dev", "five", "six"))
    table = {**files, "also": also, **data}
    values = {"name": "tiny", "task": "transcription", "data": table, "signal": {"kind": "waveform"}}
    return parse_recipe({**values, "network": {"hidden_size": 7}}, "tiny")


def texts_of(records: Any) -> list[str]:
    return [record.text for record in records if isinstance(record, Utterance)]


def test_parts_are_read_in_order_and_as_often_as_said(tmp_path: Path) -> None:
    """A pattern names all its parts; a number, or a name given again, repeats; dev stays; every file has a digest."""
    parts = tmp_path / "made"
    table_of(parts, "part-001", "y")
    single = table_of(parts, "part-000", "x")
    loaded = load_data(TASK, recipe_of(tmp_path, [f"{parts}/part-*.tsv", f"{single} x2", str(single)]))
    assert texts_of(loaded.train) == ["one", "two", "three", "four", "x", "y", "x", "x", "x"]
    assert texts_of(loaded.dev) == ["five", "six"]
    assert {"also/made/part-000.tsv", "also/made/part-001.tsv", "train/train.tsv"} <= set(loaded.source.splits)
    assert loaded.source.name == "train.tsv + part-000.tsv + part-001.tsv"


def test_dev_is_read_without_what_was_read_besides_train(tmp_path: Path) -> None:
    """A model is scored where the files that it also learned from are no more."""
    loaded = load_dev(TASK, recipe_of(tmp_path, ["gone/part-*.tsv", "gone.tsv x2"]))
    assert texts_of(loaded.dev) == ["five", "six"]
    assert not any(name.startswith("also/") for name in loaded.source.splits)


def test_a_group_held_out_is_left_out_of_further_data(tmp_path: Path) -> None:
    """A speaker who is dev is heard nowhere in train."""
    more = table_of(tmp_path / "made", "more", "x", "y")
    loaded = load_data(TASK, recipe_of(tmp_path, [f"{more} x2"], hold_out="b"))
    assert texts_of(loaded.train) == ["one", "three", "five", "x", "x"]
    assert texts_of(loaded.dev) == ["two", "four", "six"]


@pytest.mark.parametrize(
    ("also", "said"),
    [
        ("asterisk_prompt_en", "unknown data set 'asterisk_prompt_en'"),
        ("none/here-*.tsv", "no file is like none/here-"),
        ("none/here.tsv", "there is no file none/here.tsv"),
        ("fsdd", "fsdd is for classification; name sets for transcription"),
        ("an4_speech x0", "must be 1 or more"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, also: str, said: str) -> None:
    """The message says which entry is wrong, and why."""
    with pytest.raises(UnrollError, match=said):
        load_data(TASK, recipe_of(tmp_path, [also]))


def test_repetition_is_counted_by_name() -> None:
    """`x3` needs a space before it, so that a name may end so."""
    assert times_read(["a x3", "b", "a", "box4", "c x 2"]) == {"a": 4, "b": 1, "box4": 1, "c x 2": 1}


def test_forecasting_has_no_further_data() -> None:
    """One series is learnt from, which other data cannot follow."""
    values = {"name": "x", "task": "forecasting", "data": {"train": "a.csv", "also": ["b.csv"]}}
    with pytest.raises(ConfigFault, match=r"data\.also is not for forecasting"):
        parse_recipe({**values, "network": {}}, "x")
