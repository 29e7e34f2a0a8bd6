"""What is said about data before training: one class, missing labels, few records, single words."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from service.bundle.manifest import DataSource
from service.errors import UnrollError
from training.config.recipe import parse_recipe
from training.data.records import LabelledText, Record, SentencePair, TaggedSentence
from training.pipeline.data_remarks import check_learnable, hints, remarks
from training.preprocessing.load_records import RunData

SOURCE = DataSource(name="made", licence="none")


def data_of(train: Sequence[Record], dev: Sequence[Record]) -> RunData:
    return RunData(train, dev, SOURCE)


def texts(*labels: str) -> list[Record]:
    return [LabelledText(f"some text {number}", label) for number, label in enumerate(labels)]


@pytest.mark.parametrize(
    "train",
    [texts("a", "a"), [TaggedSentence(("x", "y"), ("O", "O"))], texts("a" * 100)],
)
def test_one_class_is_refused(train: list[Record]) -> None:
    """With a single label there is nothing to learn, and the message names it, cut where it is long."""
    with pytest.raises(UnrollError, match="nothing to tell apart") as caught:
        check_learnable(data_of(train, train))
    assert len(str(caught.value)) < 250


def test_an_empty_part_is_named() -> None:
    """An empty train or dev is refused; pairs have no labels and pass."""
    with pytest.raises(UnrollError, match="dev holds no record"):
        check_learnable(data_of(texts("a", "b"), []))
    check_learnable(data_of([SentencePair("a", "b")], [SentencePair("c", "d")]))


def test_labels_that_are_missing_in_a_part_are_named() -> None:
    """Labels unknown to train are named with counts, at most ten and short; so are those without dev records."""
    strangers = [f"a whole private message, number {number}, of somebody" for number in range(30)]
    found = "\n".join(remarks(data_of(texts("a", "b", "c"), texts("a", *strangers))))
    assert "labels of dev that are not in train" in found
    assert "and 20 more" in found
    assert max(map(len, found.splitlines())) < 700
    assert "labels of train that dev does not score, as none of its records has them: b (1), c (1)" in found


def test_a_small_dev_part_is_uncertain() -> None:
    """Nine records leave a score uncertain by 27 points; two hundred are not remarked upon."""
    found = remarks(data_of(texts(*"ab"), texts(*"ababababa")))
    assert any("only 9 records" in line and "27 points" in line for line in found)
    assert not remarks(data_of(texts(*"ab"), texts(*"ab" * 100)))


def test_hints_name_the_option() -> None:
    """Single words call for characters, unless those are read already; a dominant label is told with its share."""
    names = data_of([LabelledText(f"Name{number}", "ab"[number % 2]) for number in range(300)], texts("a", "b"))
    values = {"name": "mine", "task": "classification", "data": {"train": "a.csv"}}
    assert ["--set tokenizer.unit=character" in hint for hint in hints(parse_recipe(values, "made"), names)] == [True]
    assert not hints(parse_recipe({**values, "tokenizer": {"unit": "character"}}, "made"), names)
    mostly = data_of(texts(*["a"] * 290, *["b"] * 10), texts("a", "b"))
    assert any("97 % of train has the label 'a'" in hint for hint in hints(parse_recipe(values, "made"), mostly))
