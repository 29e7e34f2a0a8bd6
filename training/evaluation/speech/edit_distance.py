"""Levenshtein distance and alignment of two sequences of words or characters, each edit at a cost of 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Edits(NamedTuple):
    """Numbers of edits that turn a reference into a hypothesis."""

    substitutions: int
    deletions: int
    insertions: int

    @property
    def total(self) -> int:
        return sum(self)


def edit_distance(reference: Sequence[str], hypothesis: Sequence[str]) -> int:
    """The least number of substitutions, deletions and insertions."""
    return int(_table(reference, hypothesis, 1, 1)[-1, -1])


def aligned(reference: Sequence[str], hypothesis: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of a best alignment in order; `""` stands opposite what was inserted or deleted.

    Of alignments with equally few edits, one with the most equal pairs is taken, which is that with the fewest
    substitutions.
    """
    gap = len(reference) + len(hypothesis) + 1
    table = _table(reference, hypothesis, gap, gap + 1)
    row, column = len(reference), len(hypothesis)
    pairs = []
    while row or column:
        here = table[row, column]
        if row and column:
            cost = 0 if reference[row - 1] == hypothesis[column - 1] else gap + 1
            if here == table[row - 1, column - 1] + cost:
                row, column = row - 1, column - 1
                pairs.append((reference[row], hypothesis[column]))
                continue
        if row and here == table[row - 1, column] + gap:
            row -= 1
            pairs.append((reference[row], ""))
        else:
            column -= 1
            pairs.append(("", hypothesis[column]))
    return pairs[::-1]


def edits_of(pairs: Sequence[tuple[str, str]]) -> Edits:
    """Count the edits of an alignment."""
    return Edits(
        substitutions=sum(bool(gold and found) and gold != found for gold, found in pairs),
        deletions=sum(not found for _, found in pairs),
        insertions=sum(not gold for gold, _ in pairs),
    )


def _table(reference: Sequence[str], hypothesis: Sequence[str], gap: int, substitution: int) -> NDArray[np.int64]:
    """`[len(reference) + 1, len(hypothesis) + 1]` costs of all beginnings, a row at a time."""
    numbers: dict[str, int] = {}
    ours, theirs = (
        np.array([numbers.setdefault(unit, len(numbers)) for unit in side], dtype=np.int64)
        for side in (reference, hypothesis)
    )
    places = gap * np.arange(len(theirs) + 1)
    table = np.empty((len(ours) + 1, len(theirs) + 1), dtype=np.int64)
    table[0] = places
    for row, unit in enumerate(ours, start=1):
        above = table[row - 1]
        replaced = above[:-1] + substitution * (theirs != unit)
        best = np.append(gap * row, np.minimum(above[1:] + gap, replaced))
        # An insertion costs `gap` beside the left neighbour: the least of all to the left, each with its distance.
        table[row] = np.minimum.accumulate(best - places) + places
    return table
