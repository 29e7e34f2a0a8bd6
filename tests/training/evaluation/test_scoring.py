"""Scores against reference implementations: seqeval, scikit-learn and sacrebleu."""

from __future__ import annotations

import math
import random
import warnings

import numpy as np
import pytest
from seqeval.metrics import f1_score, precision_score, recall_score
from sklearn.metrics import f1_score as sklearn_f1

from training.evaluation.scoring import (
    accuracy,
    macro_f1,
    negative_log_likelihoods,
    perplexity,
    span_scores,
    translation_scores,
)

TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-creative-work", "I-creative-work"]


def random_tags(generator: random.Random) -> list[list[str]]:
    return [generator.choices(TAGS, k=generator.randint(1, 12)) for _ in range(30)]


@pytest.mark.parametrize("seed", range(20))
def test_span_scores_are_those_of_seqeval(seed: int) -> None:
    """Random, mostly ill-formed tags get conlleval's precision, recall and F1."""
    generator = random.Random(seed)
    gold = random_tags(generator)
    predicted = [[tag if generator.random() < 0.7 else generator.choice(TAGS) for tag in tags] for tags in gold]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = [100 * measure(gold, predicted) for measure in (precision_score, recall_score, f1_score)]
    assert span_scores(gold, predicted) == pytest.approx(expected)


def test_inside_tag_without_begin_starts_a_span() -> None:
    """`I-X` after `O` or after another type starts a new span."""
    assert span_scores([["B-A", "I-A", "B-B", "O", "B-A"]], [["I-A", "I-A", "I-B", "O", "I-A"]]).f1 == 100


def test_no_spans_at_all_score_zero() -> None:
    """No gold and no predicted spans score 0, without a division by zero."""
    assert span_scores([["O"]], [["O"]]) == (0.0, 0.0, 0.0)


def test_accuracy_is_a_percentage() -> None:
    """Two of three correct predictions are 66.7 %."""
    assert accuracy(["a", "b", "c"], ["a", "b", "x"]) == pytest.approx(200 / 3)


def test_macro_f1_is_that_of_scikit_learn() -> None:
    """Macro F1 equals scikit-learn's, also with labels that occur only in the gold or only in the predictions."""
    gold, predicted = list("aabbccd"), list("ababccx")
    assert macro_f1(gold, predicted) == pytest.approx(100 * sklearn_f1(gold, predicted, average="macro"))


def test_translation_scores_are_cased_and_signed() -> None:
    """Equal texts score 100, a change of case lowers the score, and the signature names case and tokenizer."""
    references = ["Das ist ein kleiner Hund.", "Wir gehen heute nach Hause."]
    perfect = translation_scores(references, references)
    assert perfect.bleu == pytest.approx(100)
    assert perfect.chrf == pytest.approx(100)
    assert translation_scores(references, [text.lower() for text in references]).bleu < 100
    assert "case:mixed" in perfect.bleu_signature
    assert "tok:13a" in perfect.bleu_signature
    assert "nc:6" in perfect.chrf_signature


def test_exact_matches_ignore_white_space_and_nothing_else() -> None:
    """Blanks and tabs do not count, case and every other character do."""
    references = ["SELECT MIN( a ) ;", "ls -l", "ls -l", "x"]
    found = ["SELECT  MIN(a)\t;", "ls-l", "ls -L", ""]
    assert translation_scores(references, found).exact == 50.0


def test_negative_log_likelihoods_of_known_distributions() -> None:
    """Equal logits give log(vocab); a large constant added to all logits changes nothing."""
    logits = np.zeros((2, 3, 4), dtype=np.float32)
    targets = np.array([[0, 1, 2], [3, 0, 1]])
    assert negative_log_likelihoods(logits, targets) == pytest.approx(np.full((2, 3), math.log(4)))
    assert negative_log_likelihoods(logits + 1e4, targets) == pytest.approx(np.full((2, 3), math.log(4)))


def test_perplexity_of_a_hopeless_model_is_infinite() -> None:
    """A loss whose exponential overflows gives infinite perplexity, not an error."""
    assert perplexity(0.0) == 1.0
    assert perplexity(1e4) == math.inf
