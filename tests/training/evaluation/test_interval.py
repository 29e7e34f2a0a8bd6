"""Confidence intervals: those of shares against known values, those by bootstrap against those of shares."""

from __future__ import annotations

import numpy as np
import pytest

from training.data.records import TaggedSentence
from training.evaluation.analysis.interval import bootstrap, in_words, ratio, wilson
from training.evaluation.predictions import Prediction
from training.evaluation.tasks.tagging import tag_interval


@pytest.mark.parametrize(
    ("right", "count", "low", "high"),
    [(0, 10, 0.0, 27.75), (10, 10, 72.25, 100.0), (50, 100, 40.38, 59.62), (1, 2, 9.45, 90.55), (0, 0, 0.0, 100.0)],
)
def test_wilson(right: int, count: int, low: float, high: float) -> None:
    """The values that statistics programs give."""
    assert wilson(right, count) == pytest.approx((low, high), abs=0.01)


def test_bootstrap_agrees_with_wilson() -> None:
    """For independent records both give nearly the same, and the bootstrap gives the same each time."""
    parts = [(float(number % 4 == 0), 1.0) for number in range(400)]
    found = bootstrap(parts, ratio)
    assert found == pytest.approx(wilson(100, 400), abs=0.8)
    assert found == bootstrap(parts, ratio)


def test_nothing_of_nothing_is_zero() -> None:
    """A measure without any case is 0, not a division by zero."""
    assert bootstrap([(0.0, 0.0)] * 3, ratio) == (0.0, 0.0)
    assert np.array_equal(ratio(np.array([[1.0, 2.0], [0.0, 0.0]])), [50.0, 0.0])


@pytest.mark.parametrize("measure", ["f1", "precision", "recall", "accuracy"])
def test_intervals_of_tags_hold_the_score(measure: str) -> None:
    """Half of the spans are found, with no others: precision is sure, the rest is not."""
    gold = TaggedSentence(("a", "b"), ("B-X", "O"))
    found = [Prediction(gold, tags=gold.tags if number % 2 else ("O", "O")) for number in range(60)]
    interval = tag_interval(measure, found)
    assert interval is not None
    score = {"f1": 200 / 3, "precision": 100.0, "recall": 50.0, "accuracy": 75.0}[measure]
    assert interval[0] <= score <= interval[1]
    assert (interval[0] == interval[1]) == (measure == "precision")


def test_an_interval_in_words() -> None:
    assert in_words((44.12, 53.38)) == "95 %: 44.1 to 53.4"
