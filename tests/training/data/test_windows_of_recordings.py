"""Labelled recordings cut into windows: from the file to scores of a bundle."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.training.cli.test_commands import refused, unroll
from training.data.formats.faults import DataFault
from training.data.formats.options import ReadOptions
from training.data.read import read_records
from training.data.records import LabelledSignal
from training.data.split import split_records


def write_recording(path: Path, stretches: list[tuple[str, str, int]]) -> Path:
    """Write a recording of stretches of a label, a person and a number of rows; `x` counts rows, `y` is the label."""
    rows, count = ["time,x,y,activity,subject"], 0
    for label, person, length in stretches:
        for _ in range(length):
            rows.append(f"{count / 50},{count},{len(label) + 0.01 * (count % 7)},{label},{person}")
            count += 1
    path.write_text("\n".join(rows) + "\n")
    return path


def windows_of(path: Path, window: int, stride: int = 0) -> list[LabelledSignal]:
    read = ReadOptions(window_rows=window, stride_rows=stride)
    return [record for record in read_records("classification", path, read) if isinstance(record, LabelledSignal)]


def test_windows_follow_each_other_by_the_stride_and_span_no_border(tmp_path: Path) -> None:
    """No window spans a change of label or person; remainders are dropped, and a short stretch is one window."""
    path = write_recording(tmp_path / "log.csv", [("walk", "ann", 10), ("sit", "ann", 3), ("sit", "bob", 8)])
    found = windows_of(path, 4, 2)
    assert [(one.label, one.group, one.values[:, 0].tolist()) for one in found] == [
        ("walk", "ann", [0, 1, 2, 3]),
        ("walk", "ann", [2, 3, 4, 5]),
        ("walk", "ann", [4, 5, 6, 7]),
        ("walk", "ann", [6, 7, 8, 9]),
        ("sit", "ann", [10, 11, 12]),
        ("sit", "bob", [13, 14, 15, 16]),
        ("sit", "bob", [15, 16, 17, 18]),
        ("sit", "bob", [17, 18, 19, 20]),
    ]
    assert {one.features for one in found} == {("x", "y")}
    assert [len(one.values) for one in windows_of(path, 4)] == [4, 4, 3, 4, 4]


def test_a_split_keeps_windows_of_one_stretch_together(tmp_path: Path) -> None:
    """Overlapping windows are never split between train and dev, which would inflate the dev score."""
    stretches = [(("walk", "sit")[number % 2], "ann", 12) for number in range(30)]
    records = windows_of(write_recording(tmp_path / "log.csv", stretches), 4, 1)
    parts = split_records(records, 0.3)
    train, dev = ({record.stretch for record in part if isinstance(record, LabelledSignal)} for part in parts[:2])
    assert train
    assert dev
    assert not train & dev


def test_a_bad_row_is_named(tmp_path: Path) -> None:
    """A non-numeric cell and a row without a label are reported with file, line and column."""
    path = write_recording(tmp_path / "log.csv", [("walk", "ann", 6)])
    content = path.read_text()
    path.write_text(content.replace("0.06,3,", "0.06,oops,"))
    with pytest.raises(DataFault, match=r"log\.csv:5: 'x' is 'oops', not a number"):
        windows_of(path, 3)
    path.write_text(content.replace(",walk,", ",,"))
    with pytest.raises(DataFault, match=r"log\.csv:2: 'activity' is empty"):
        windows_of(path, 3)


def test_one_command_from_a_recording_to_scores(tmp_path: Path) -> None:
    """Training, checking and scoring cut the same windows; `evaluate` reads the settings from the bundle."""
    stretches = [(("walk", "sit")[number % 2], "ann", 12) for number in range(30)]
    path = write_recording(tmp_path / "log.csv", stretches)
    cut = ["--column", "window=6", "--column", "stride=3"]
    small = ["network.hidden_size=4", "network.layers=1", "training.epochs=1", "training.threads=1"]
    result = unroll(
        "train", "classification", "--train", path, "--name", "mine", "--device=cpu", *cut,
        "--runs", tmp_path / "runs", "--models", tmp_path / "models", *[f"--set={setting}" for setting in small],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    scores = unroll("evaluate", tmp_path / "models" / "mine" / "1", path, "--json")
    assert json.loads(scores.stdout)["count"] == 30 * 3
    report = unroll("check-data", "classification", "--train", path, *cut, "--json")
    assert json.loads(report.stdout)["splits"][0]["records"] == 90
    said = refused("check-data", "classification", "--train", path, "--column", "window=many")
    assert "must be a whole number" in said


def test_values_are_those_of_the_file(tmp_path: Path) -> None:
    """Values keep their row and column."""
    (window,) = windows_of(write_recording(tmp_path / "log.csv", [("walk", "ann", 3)]), 3)
    np.testing.assert_allclose(window.values, [[0, 4.0], [1, 4.01], [2, 4.02]], atol=1e-6)
