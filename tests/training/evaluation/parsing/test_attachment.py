"""Attachment scores and errors of arcs, on cases computed by hand."""

from __future__ import annotations

import pytest

from training.data.records import ParsedSentence
from training.evaluation.parsing.arc_errors import arc_errors, tables
from training.evaluation.parsing.attachment import Parse, attachment_scores, refused, universal_features
from training.evaluation.predictions import Prediction
from training.evaluation.tasks.catalogue import EVALUATION_TASKS

GOLD = ParsedSentence(
    words=("The", "cat", "was", "seen", "."),
    tags=("DET", "NOUN", "AUX", "VERB", "PUNCT"),
    heads=(2, 4, 4, 0, 4),
    relations=("det", "nsubj:pass", "aux:pass", "root", "punct"),
    feats=("Definite=Def", "Number=Sing", "_", "Tense=Past|Typo=Yes", "_"),
)
PERFECT = Parse(GOLD.tags, GOLD.heads, GOLD.relations, GOLD.feats)


def test_the_right_tree_scores_100() -> None:
    assert attachment_scores([(GOLD, PERFECT)]) == dict.fromkeys(("uas", "las", "clas", "upos", "ufeats"), 100.0)


def test_subtypes_and_features_of_one_language_do_not_count() -> None:
    """`nsubj` for `nsubj:pass` is right, and so is a word without its feature Typo."""
    found = PERFECT._replace(
        relations=("det", "nsubj", "aux", "root", "punct"),
        feats=("Definite=Def", "Number=Sing", "_", "Tense=Past", "_"),
    )
    assert attachment_scores([(GOLD, found)]) == dict.fromkeys(("uas", "las", "clas", "upos", "ufeats"), 100.0)
    assert universal_features("Typo=Yes") == "_"


def test_heads_relations_and_content_words_are_counted_apart() -> None:
    """Of five words one has the wrong head and one the wrong relation; of content words one in two is right.

    The predicted relation `obj` of the determiner makes it a content word: 2 * 1 / (2 + 3).
    """
    found = PERFECT._replace(heads=(2, 3, 4, 0, 4), relations=("obj", *GOLD.relations[1:]))
    scores = attachment_scores([(GOLD, found)])
    assert (scores["uas"], scores["las"], scores["clas"]) == (80.0, 60.0, pytest.approx(40.0))


def test_a_refused_sentence_is_wrong_in_everything() -> None:
    """All its words count, in all measures, features that are none included."""
    scores = attachment_scores([(GOLD, PERFECT), (GOLD, refused(GOLD))])
    assert scores["uas"] == scores["las"] == scores["upos"] == scores["ufeats"] == 50.0
    assert scores["clas"] == pytest.approx(100 * 4 / 6)


def test_no_features_no_score_of_them() -> None:
    assert "ufeats" not in attachment_scores([(GOLD, PERFECT)], with_features=False)


def test_errors_tell_heads_from_relations() -> None:
    """A wrong head is told by the relation, a wrong relation beside the right one, each with the words around it."""
    found = PERFECT._replace(heads=(2, 3, 4, 0, 4), relations=("amod", *GOLD.relations[1:]))
    first, second = arc_errors(GOLD, found)
    assert (first.kind, first.text) == ("det -> amod", "[The] cat was seen .")
    assert (second.kind, second.gold, second.predicted) == ("head of nsubj", "nsubj of seen", "nsubj of was")


def test_tables_are_by_relation_and_distance() -> None:
    """Each word is in one row of both tables; distances rise."""
    by_relation, by_distance = tables([(GOLD, PERFECT._replace(heads=(2, 3, 4, 0, 4)))])
    assert ("nsubj", "1", "0.0", "0.0") in by_relation.rows
    assert [row[:3] for row in by_distance.rows] == [("root", "1", "100.0"), ("1", "3", "100.0"), ("2", "1", "0.0")]


def test_intervals_and_findings_come_from_predictions() -> None:
    """The interval of a perfect parser is a point; findings compare relations where the head is right."""
    task = EVALUATION_TASKS["parsing"]
    predictions = [Prediction(GOLD, parse=PERFECT), Prediction(GOLD, parse=PERFECT)]
    assert task.interval("las", predictions) == (100.0, 100.0)
    assert task.interval("loss", predictions) is None
    found = task.analyse(predictions)
    assert found is not None
    assert (found.num_records, len(found.cases), len(found.confusions)) == (2, 0, 10)
