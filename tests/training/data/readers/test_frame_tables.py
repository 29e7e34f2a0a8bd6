"""Tables with a row for each frame: what makes a sequence is doubted, never guessed."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.data.formats.faults import DataFault, Report
from training.data.read import read_located

HEADER = "sequence,speaker,label,x,y\n"


def read(folder: Path, rows: str) -> tuple[int, Report, Path]:
    path = folder / "a.csv"
    path.write_text(HEADER + rows, encoding="utf-8")
    report = Report()
    return len(read_located("classification", path, None, report)), report, path


def test_interleaved_sequences_are_refused(tmp_path: Path) -> None:
    """Rows of a sequence that begin again later are not read as sequences of one frame."""
    with pytest.raises(DataFault, match=r"a.csv:4: sequence '0' begins again: .* from line 2; sort the rows"):
        read(tmp_path, "0,s,a,1,1\n1,s,b,2,1\n0,s,a,3,1\n1,s,b,4,1\n")


def test_a_second_label_in_a_sequence_is_refused(tmp_path: Path) -> None:
    """A recording with a label on each row is no sequence with the label of its first row."""
    with pytest.raises(DataFault, match=r"a.csv:3: label 'b' in sequence '0', which began with 'a'.*window=ROWS"):
        read(tmp_path, "0,s,a,1,1\n0,s,b,2,1\n")


def test_numbers_of_sequences_may_begin_again_with_each_speaker(tmp_path: Path) -> None:
    """Blank labels after the first row are its label too; and what is read is stated."""
    count, report, path = read(tmp_path, "0,s,a,1,1\n0,s,,2,1\n1,s,b,3,1\n0,t,a,1,1\n")
    assert count == 3
    assert report.understood[str(path)]["features"] == "`x`, `y`"
