"""Span schemes: each is detected from a file's tags and converted to the same BIO."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.tasks.single_pass.spans import Span, bio_spans
from training.data.formats.faults import Report
from training.data.read import read_located
from training.data.readers.schemes import Scheme, find_spans, span_scheme, to_bio


def detect_scheme(sentences: list[list[str]]) -> Scheme | None:
    """The scheme that all tags follow; None if one of them does not."""
    found = find_spans(sentences)
    return None if found is None or found.odd else found.scheme


BIO = ["B-A", "I-A", "B-A", "O", "B-B", "B-A", "I-A", "I-A"]
IN_OTHER_SCHEMES = {
    "bio": BIO,
    "iob1": ["I-A", "I-A", "B-A", "O", "I-B", "I-A", "I-A", "I-A"],
    "bioes": ["B-A", "E-A", "S-A", "O", "S-B", "B-A", "I-A", "E-A"],
}


@pytest.mark.parametrize("scheme", IN_OTHER_SCHEMES)
def test_scheme_is_detected_and_converted(scheme: str) -> None:
    """One sentence in three schemes converts to the same BIO tags."""
    tags = IN_OTHER_SCHEMES[scheme]
    assert detect_scheme([tags]) == scheme
    assert to_bio(tags) == tuple(BIO)


def test_bilou_is_bioes_in_other_letters() -> None:
    """BILOU is read with L as the end of a span and U as a single-word span."""
    tags = ["B-A", "L-A", "U-A", "O", "U-B", "B-A", "I-A", "L-A"]
    assert detect_scheme([tags]) == "bilou"
    assert to_bio(tags) == tuple(BIO)


@pytest.mark.parametrize("tags", [["NOUN", "O"], ["O", "O"], ["B-A", "X-A"], ["B", "I"], ["I-"], []])
def test_plain_tags_form_no_spans(tags: list[str]) -> None:
    """Part-of-speech tags, and tags that merely resemble span tags, are left unchanged."""
    assert detect_scheme([tags]) is None
    assert span_scheme([tags]) is None


@given(st.lists(st.sampled_from(["O", "B-A", "I-A", "B-B", "I-B"]), max_size=12))
def test_mended_tags_hold_the_same_spans(tags: list[str]) -> None:
    """Repairing inside tags without a begin preserves conlleval's spans and repairs every such tag."""
    mended = to_bio(tags)
    assert bio_spans(mended) == bio_spans(tags)
    assert to_bio(mended) == mended


def test_single_words_of_iob1_become_spans() -> None:
    """A file that has only inside tags is detected as IOB1."""
    assert detect_scheme([["O", "I-A"], ["I-B", "O"]]) == "iob1"
    assert bio_spans(to_bio(["I-A", "I-B"])) == [Span("A", 0, 1), Span("B", 1, 2)]


def test_illegal_tags_are_warned_of_by_line(tmp_path: Path) -> None:
    """A BIO file with a stray inside tag stays BIO; the tag is reported by line and read as a begin."""
    path = tmp_path / "a.conll"
    path.write_text("a O\nb I-X\nc O\nd B-X\n\ne I-Y\n", encoding="utf-8")
    report = Report(strict=False)
    records = read_located("tagging", path, None, report)
    assert records[0].record.tags == ("O", "B-X", "O", "B-X")
    assert [(warning.line, warning.what.split(" continues")[0]) for warning in report.warnings] == [
        (2, "I-X after O"),
        (6, "I-Y after the start of the sentence"),
    ]
