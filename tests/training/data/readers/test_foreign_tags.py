"""Files of tags in other hands' layouts: read, or refused by the name of what they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.data.formats.faults import DataFault, Report
from training.data.read import read_located
from training.data.records import TaggedSentence


def read(folder: Path, text: str) -> tuple[list[TaggedSentence], Report]:
    path = folder / "a.tsv"
    path.write_text(text, encoding="utf-8")
    report = Report(strict=False)
    found = [one.record for one in read_located("tagging", path, None, report)]
    return [record for record in found if isinstance(record, TaggedSentence)], report


@pytest.mark.parametrize("outside", ["-", "_", "0", "o"])
def test_a_file_without_o_keeps_its_spans(outside: str, tmp_path: Path) -> None:
    """What stands in the place of O everywhere is read as O, with a warning, and the other tags stay spans."""
    text = f"EU\tB-ORG\nsaid\t{outside}\nso\t{outside}\n\nAnn\tB-PER\nLee\tI-PER\nran\t{outside}\n"
    found, report = read(tmp_path, text)
    assert found[1].tags == ("B-PER", "I-PER", "O")
    assert f"tag '{outside}' is read as O" in str(report.warnings[0])


def test_another_word_for_o_is_refused(tmp_path: Path) -> None:
    """A file with OTHER for O is not read as plain tags."""
    found, report = read(tmp_path, "EU\tB-ORG\nsaid\tOTHER\nso\tOTHER\n\nAnn\tB-PER\nLee\tI-PER\nran\tOTHER\n")
    assert found == []
    assert "tag 'OTHER': it is no span tag" in str(report.faults[0])


def test_parts_of_speech_with_hyphens_are_no_spans(tmp_path: Path) -> None:
    found, report = read(tmp_path, "EU\tNN-S\nsaid\tVB-D\n\nAnn\tNN-S\nran\tVB-D\nfast\tRB-X\n")
    assert found[0].tags == ("NN-S", "VB-D")
    assert report.warnings == []


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('"EU"\t"B-ORG"\n"said"\t"O"\n', "quoted as in CSV"),
        ("EU;B-ORG\nsaid;O\n\nAnn;B-PER\n", "separated by semicolons"),
        ("EU|B-ORG\nsaid|O\n\nAnn|B-PER\n", "separated by vertical bars"),
        ("The/DT cat/NN sat/VBD ./.\nA/DT dog/NN ran/VBD ./.\n", "words with their tags, such as The/DT"),
    ],
)
def test_other_layouts_are_refused_by_name(text: str, what: str, tmp_path: Path) -> None:
    with pytest.raises(DataFault, match=what):
        read(tmp_path, text)


def test_comments_have_no_number_of_a_word(tmp_path: Path) -> None:
    """Where the first column counts the words, a line that starts with # is a comment, whatever its columns."""
    text = "#\thttps://example.org [2010]\n1\tAnn\tB-PER\tO\n2\tran\tO\tO\n\n#\tx\n1\tHi\tO\tB-X\n2\tBob\tB-PER\tO\n"
    found, report = read(tmp_path, text)
    assert [record.words for record in found] == [("Ann", "ran"), ("Hi", "Bob")]
    assert report.faults == []
