"""Confusion counts of gold and predicted labels."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from training.evaluation.analysis.confusion import NOTHING, Confusion, label_pairs

PAIRS = [("cat", "cat"), ("cat", "dog"), ("cat", "dog"), ("dog", "dog"), ("bird", ""), ("bird", "cat")]


def test_every_pair_is_counted_once() -> None:
    """Rows are gold and columns predicted labels; refused inputs have a column of their own."""
    confusion = Confusion.of(PAIRS)
    assert confusion.labels == (NOTHING, "bird", "cat", "dog")
    expected = [[0, 0, 0, 0], [1, 0, 1, 0], [0, 0, 1, 2], [0, 0, 0, 1]]
    assert confusion.counts.tolist() == expected


def test_mistakes_are_in_order_of_number() -> None:
    """Errors are sorted by descending count, then by name; correct predictions are excluded."""
    assert Confusion.of(PAIRS).mistakes() == [("cat", "dog", 2), ("bird", NOTHING, 1), ("bird", "cat", 1)]


def test_the_labels_with_most_errors_are_drawn() -> None:
    """A label without errors is the first to be left out when there are too many for a plot."""
    many = Confusion.of([*PAIRS, *[("right", "right")] * 50])
    assert many.worst(4).labels == (NOTHING, "bird", "cat", "dog")
    assert many.worst(2).counts.sum() < many.counts.sum()
    assert many.worst(99).labels == many.labels


def test_table_and_picture(tmp_path: Path) -> None:
    """The table has every count; the plot is not a single colour, also with labels that look like formulas."""
    from matplotlib import image

    confusion = Confusion.of([*PAIRS, ("$", "PRP$")])
    confusion.write_table(tmp_path / "table.csv")
    confusion.draw(tmp_path / "picture.png")
    with (tmp_path / "table.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = list(csv.reader(file))
    assert tuple(header[1:]) == confusion.labels
    assert np.array_equal(np.array([row[1:] for row in rows], dtype=int), confusion.counts)
    assert image.imread(tmp_path / "picture.png").std() > 0.02


def test_words_in_pairs() -> None:
    """Words are paired sentence by sentence, in order."""
    assert label_pairs([["a", "b"], ["c"]], [["a", "x"], ["c"]]) == [("a", "a"), ("b", "x"), ("c", "c")]
