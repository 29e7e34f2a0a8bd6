"""The dev split of data that has none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from service.errors import UnrollError
from training.data.records import LabelledText, Passage, SentencePair, TaggedSentence
from training.data.split import split_passages, split_records

TEXTS = [LabelledText(f"text number {n}", "x") for n in range(400)]


def test_split_depends_on_nothing_but_the_text() -> None:
    """Reordering or adding records moves no record to the other side of the split."""
    parts = split_records(TEXTS)
    assert set(parts.dev) == set(split_records(TEXTS[::-1]).dev)
    assert set(parts.dev) <= set(split_records([*TEXTS, LabelledText("more", "y")]).dev)
    assert sorted(parts.train + parts.dev) == sorted(TEXTS)


def test_split_is_near_the_share_and_said_aloud() -> None:
    """About a tenth of the records is dev, and the message has the number."""
    parts = split_records(TEXTS)
    assert 20 <= len(parts.dev) <= 60
    assert f"{len(parts.dev)} of 400 records" in parts.explanation


def test_equal_texts_stay_together() -> None:
    """Texts that are equal up to case and punctuation are on the same side."""
    records = [LabelledText(form, "x") for n in range(50) for form in (f"Text {n}!", f"text {n}", f"TEXT, {n}")]
    parts = split_records(records, 0.3)
    assert {r.text.strip("!").replace(",", "").lower() for r in parts.train}.isdisjoint(
        r.text.strip("!").replace(",", "").lower() for r in parts.dev
    )


def test_pairs_share_neither_side() -> None:
    """Pairs that share a source or a target, directly or through a third pair, are on the same side."""
    pairs = [SentencePair(f"s{n // 2}", f"t{(n + 1) // 2 + 1000 * (n // 6)}") for n in range(300)]
    parts = split_records(pairs, 0.3)
    assert parts.dev
    assert {p.source for p in parts.train}.isdisjoint(p.source for p in parts.dev)
    assert {p.target for p in parts.train}.isdisjoint(p.target for p in parts.dev)


def test_few_records_still_give_a_dev_part() -> None:
    """With two texts each side has one."""
    records = [TaggedSentence(("a",), ("X",)), TaggedSentence(("b",), ("X",))]
    parts = split_records(records, 0.0001)
    assert (len(parts.train), len(parts.dev)) == (1, 1)


def test_running_text_is_cut_at_a_line_end() -> None:
    """The end of the text is dev, cut at a line end, and no text is lost."""
    text = "".join(f"line {n}\n" for n in range(100))
    parts = split_passages([Passage(text)])
    assert parts.train[0].text + parts.dev[0].text == text
    assert parts.train[0].text.endswith("\n")
    assert len(parts.dev[0].text) == pytest.approx(len(text) / 10, abs=10)


@pytest.mark.parametrize(
    ("split", "records"),
    [
        (split_records, []),
        (split_records, [LabelledText("a", "x"), LabelledText("A!", "y")]),
        (split_passages, [Passage("ab\n")]),
    ],
)
def test_too_little_to_split_is_an_error(split: Callable[[Any], object], records: list[LabelledText | Passage]) -> None:
    """A single text cannot be split."""
    with pytest.raises(UnrollError, match="there is no dev file"):
        split(records)
