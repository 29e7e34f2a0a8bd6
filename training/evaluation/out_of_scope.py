"""Out-of-scope recall of a classifier at 95 % acceptance of in-scope texts, so that models compare.

A text is accepted if its label is not the out-of-scope label and its score is at least a threshold. The threshold is
the highest one that accepts 95 % of the in-scope texts, whether their label is right or not; the measure is the share
of out-of-scope texts rejected (Larson et al. 2019 report recall beside in-scope accuracy, without fixing the
acceptance). Where the label alone rejects more than 5 % of the in-scope texts, the threshold is 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

#: Share of in-scope texts that are accepted.
TAKEN_SHARE = 0.95


class OutOfScopeScores(NamedTuple):
    """Percentages, except the threshold, which is on the scale of the confidences."""

    recall: float
    taken_in_scope: float
    threshold: float


def out_of_scope_scores(
    gold: Sequence[str], predicted: Sequence[str], confidences: Sequence[float], outside: str
) -> OutOfScopeScores:
    """`confidences` are those of the predicted labels, which are empty for refused texts. Needs texts of both kinds."""
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
    """The decision rule in words, to apply it to answers of the service."""
    # Rounded down, so that it accepts at least as many.
    shown = math.floor(threshold * 1e4) / 1e4
    return (
        f"a text is taken if its label is not {outside} and its score is at least {shown:g}; "
        f"so are {taken_in_scope:.1f} % of those in scope"
    )
