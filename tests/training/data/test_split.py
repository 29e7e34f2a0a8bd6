"""The dev split of data that has none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from service.errors import UnrollError
from training.data.records import (
    CaptionedPicture,
    LabelledSignal,
    LabelledText,
    Passage,
    SentencePair,
    TaggedSentence,
)
from training.data.split import shortened, split_passages, split_records

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


def test_each_label_has_its_share() -> None:
    """A tenth of each label is dev, at least one record of each that has two, and single ones stay in train."""
    records = [LabelledText(f"text {n}", "often" if n % 10 else "seldom") for n in range(100)]
    records += [LabelledText("pair one", "pair"), LabelledText("pair two", "pair"), LabelledText("alone", "single")]
    parts = split_records(records)
    assert Counter(record.label for record in parts.dev) == {"often": 9, "seldom": 1, "pair": 1}
    assert {record.label for record in parts.train} == {"often", "seldom", "pair", "single"}


def test_ten_digits_of_few_sounds_are_all_in_dev() -> None:
    """With 36 records of each of ten labels, no label is missing on either side."""
    sounds = [LabelledSignal(np.full((2, 1), n, np.float32), f"digit {n % 10}") for n in range(360)]
    parts = split_records(sounds)
    assert Counter(record.label for record in parts.dev) == {f"digit {n}": 4 for n in range(10)}
    assert "every label in both parts" in parts.explanation


@pytest.mark.parametrize("kind", ["text", "signal", "picture"])
def test_groups_stay_whole(kind: str) -> None:
    """Where records name their source, dev holds whole sources, and the message names them."""
    made = {
        "text": lambda n: LabelledText(f"text {n // 10}", f"label {n % 3}", f"author {n % 7}"),
        "signal": lambda n: LabelledSignal(np.full((1, 1), n, np.float32), f"label {n % 3}", group=f"speaker {n % 7}"),
        "picture": lambda n: CaptionedPicture(str(n).encode(), "a thing", f"artist {n % 7}"),
    }[kind]
    parts = split_records([made(n) for n in range(140)])
    groups = [{record.group for record in part} for part in (parts.train, parts.dev)]
    assert groups[0].isdisjoint(groups[1])
    assert len(parts.dev) == 20
    assert next(iter(groups[1])) in parts.explanation


def test_one_group_is_no_group() -> None:
    """Records of a single source are divided as if it were not named."""
    parts = split_records([LabelledText(f"text {n}", "ab"[n % 2], "ann") for n in range(100)])
    assert len(parts.dev) == 10


def test_train_keeps_every_tag() -> None:
    """A tag of two sentences is on both sides, one of a single sentence is learned."""
    rare = {3: "TWICE", 50: "TWICE", 70: "ONCE"}
    parts = split_records([TaggedSentence((f"word{n}",), (rare.get(n, "O"),)) for n in range(90)])
    assert {tag for record in parts.train for tag in record.tags} == {"O", "TWICE", "ONCE"}
    assert "TWICE" in {tag for record in parts.dev for tag in record.tags}


def test_shortened_lists() -> None:
    """At most ten names, each on one line and cut, and the number of the rest."""
    assert shortened(["a\nb", "c" * 50]) == f"a b, {'c' * 39}…"
    assert shortened([str(n) for n in range(25)]).endswith("9 and 15 more")
