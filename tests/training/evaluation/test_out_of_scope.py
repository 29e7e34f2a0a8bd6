"""Out-of-scope recall at 95 % acceptance of in-scope texts."""

from __future__ import annotations

import pytest

from training.evaluation.out_of_scope import out_of_scope_scores, sentence
from training.evaluation.scoring import classification_scores

IN, OUT = "play", "oos"


def test_the_threshold_takes_nineteen_of_twenty() -> None:
    """The threshold accepts nineteen of twenty in-scope texts; texts scored below it or labelled `oos` are refused."""
    gold = [IN] * 20 + [OUT] * 4
    predicted = [IN] * 20 + [IN, IN, IN, OUT]
    confidences = [0.3, *[0.5 + 0.02 * n for n in range(19)], 0.49, 0.5, 0.9, 0.99]
    found = out_of_scope_scores(gold, predicted, confidences, OUT)
    assert found.threshold == 0.5
    assert found.taken_in_scope == 95.0
    assert found.recall == 50.0  # 0.49 by its score, 0.99 by its label


def test_a_model_that_calls_too_many_outsiders_has_no_threshold() -> None:
    """A threshold cannot restore in-scope texts labelled out of scope, and the reported acceptance reflects it."""
    found = out_of_scope_scores([IN] * 10 + [OUT], [OUT] * 2 + [IN] * 8 + [IN], [0.9] * 11, OUT)
    assert (found.threshold, found.taken_in_scope, found.recall) == (0.0, 80.0, 0.0)


def test_the_sentence_never_asks_for_more_than_was_measured() -> None:
    """The reported threshold is rounded down."""
    assert sentence(0.41239, 95.04, OUT) == (
        "a text is taken if its label is not oos and its score is at least 0.4123; so are 95.0 % of those in scope"
    )


def test_it_is_measured_where_there_are_outsiders_alone() -> None:
    """The measure needs the recipe's out-of-scope label, confidences, and in-scope texts."""
    gold, predicted, confidences = [IN] * 4 + ["other"], [IN] * 5, [0.9, 0.9, 0.9, 0.9, 0.2]
    scores = classification_scores(gold, predicted, confidences, "other")
    assert scores["recall_oos_at_95"] == 100.0
    assert (scores["threshold_at_95"], scores["taken_in_scope_at_95"]) == (0.9, 100.0)
    assert scores["accuracy_in_scope"] == pytest.approx(100.0)
    assert "recall_oos_at_95" not in classification_scores(gold, predicted, confidences)
    assert "recall_oos_at_95" not in classification_scores(gold, predicted, outside="other")
    assert "recall_oos" not in classification_scores([OUT], [OUT], [1.0])
