"""How well a classifier keeps out what it was not made for, at a price that is the same for every model.

A text is taken as in scope if its label is not the one for outsiders and its score is at least a threshold. The
threshold is the highest at which 95 % of the scored texts that are in scope are taken, rightly labelled or not; the
measure is the share of outsiders that are then kept out (Larson et al. 2019 report recall beside accuracy in scope,
without a fixed price). Where the label alone keeps more than 5 % of the texts in scope out, the threshold is 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

#: Of the texts in scope.
TAKEN_SHARE = 0.95


class OutOfScopeScores(NamedTuple):
    """Percentages, but for the threshold, which counts like the confidences."""

    recall: float
    taken_in_scope: float
    threshold: float


def out_of_scope_scores(
    gold: Sequence[str], predicted: Sequence[str], confidences: Sequence[float], outside: str
) -> OutOfScopeScores:
    """`confidences` belong to the predicted labels, empty for what was refused. Needs texts in scope and outsiders."""
    taken_by_label = [label not in (outside, "") for label in predicted]
    in_scope = [row for row, label in enumerate(gold) if label != outside]
    outsiders = [row for row, label in enumerate(gold) if label == outside]
    ranked = sorted((confidences[row] for row in in_scope if taken_by_label[row]), reverse=True)
    wanted = math.ceil(TAKEN_SHARE * len(in_scope))
    threshold = ranked[wanted - 1] if wanted <= len(ranked) else min([0.0, *ranked])
    is_taken = [by_label and score >= threshold for by_label, score in zip(taken_by_label, confidences, strict=True)]
    return OutOfScopeScores(
        recall=100.0 * sum(not is_taken[row] for row in outsiders) / len(outsiders),
        taken_in_scope=100.0 * sum(is_taken[row] for row in in_scope) / len(in_scope),
        threshold=threshold,
    )


def sentence(threshold: float, taken_in_scope: float, outside: str) -> str:
    """What was done, for those who want to do the same with the answers of a service."""
    # Rounded down, so that it takes at least as many.
    shown = math.floor(threshold * 1e4) / 1e4
    return (
        f"a text is taken if its label is not {outside} and its score is at least {shown:g}; "
        f"so are {taken_in_scope:.1f} % of those in scope"
    )
