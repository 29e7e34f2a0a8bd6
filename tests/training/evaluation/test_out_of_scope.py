"""Recall of what is out of scope at the price of one in twenty texts that are in scope."""

from __future__ import annotations

import pytest

from training.evaluation.out_of_scope import out_of_scope_scores, sentence
from training.evaluation.scoring import classification_scores

IN, OUT = "play", "oos"


def test_the_threshold_takes_nineteen_of_twenty() -> None:
    """It stands at the lowest of the nineteen best; outsiders below it, or called outsiders, are kept out."""
    gold = [IN] * 20 + [OUT] * 4
    predicted = [IN] * 20 + [IN, IN, IN, OUT]
    confidences = [0.3, *[0.5 + 0.02 * n for n in range(19)], 0.49, 0.5, 0.9, 0.99]
    found = out_of_scope_scores(gold, predicted, confidences, OUT)
    assert found.threshold == 0.5
    assert found.taken_in_scope == 95.0
    assert found.recall == 50.0  # 0.49 by its score, 0.99 by its label


def test_a_model_that_calls_too_many_outsiders_has_no_threshold() -> None:
    """What its label keeps out cannot be taken back by a lower threshold, and the share taken says so."""
    found = out_of_scope_scores([IN] * 10 + [OUT], [OUT] * 2 + [IN] * 8 + [IN], [0.9] * 11, OUT)
    assert (found.threshold, found.taken_in_scope, found.recall) == (0.0, 80.0, 0.0)


def test_the_sentence_never_asks_for_more_than_was_measured() -> None:
    """The threshold is rounded down."""
    assert sentence(0.41239, 95.04, OUT) == (
        "a text is taken if its label is not oos and its score is at least 0.4123; so are 95.0 % of those in scope"
    )


def test_it_is_measured_where_there_are_outsiders_alone() -> None:
    """By the label that the recipe names; and not without confidences, nor where nothing is in scope."""
    gold, predicted, confidences = [IN] * 4 + ["other"], [IN] * 5, [0.9, 0.9, 0.9, 0.9, 0.2]
    scores = classification_scores(gold, predicted, confidences, "other")
    assert scores["recall_oos_at_95"] == 100.0
    assert (scores["threshold_at_95"], scores["taken_in_scope_at_95"]) == (0.9, 100.0)
    assert scores["accuracy_in_scope"] == pytest.approx(100.0)
    assert "recall_oos_at_95" not in classification_scores(gold, predicted, confidences)
    assert "recall_oos_at_95" not in classification_scores(gold, predicted, outside="other")
    assert "recall_oos" not in classification_scores([OUT], [OUT], [1.0])
