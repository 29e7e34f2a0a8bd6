"""BLEU over lower-cased tokens, as older papers compute it."""

from __future__ import annotations

import pytest

from training.evaluation.scoring import translation_scores
from training.evaluation.tokenised_bleu import cut, tokenised_bleu


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Two dogs, running.", "two dogs , running ."),
        ("L'homme n'est pas là-bas aujourd'hui!", "l' homme n' est pas là-bas aujourd'hui !"),
        ("The man's 3.5 T-shirts", "the man 's 3.5 t-shirts"),
        ("„Größe“ (3)", "„ größe “ ( 3 )"),
    ],
)
def test_tokens_are_words_and_signs(text: str, tokens: str) -> None:
    """Text is lower-cased, punctuation is split off, and hyphens, decimal points and elision apostrophes are kept."""
    assert cut(text) == tokens


def test_case_counts_in_one_score_and_not_in_the_other() -> None:
    """Lower-cased hypotheses score 100 in tokenised BLEU, but not in cased BLEU over the detokenised text."""
    references = ["Ein Mann läuft durch den Park.", "Zwei Hunde spielen im Schnee mit einem Ball."]
    scores = translation_scores(references, [text.lower() for text in references])
    assert scores.bleu_tokenised == pytest.approx(100.0)
    assert scores.bleu < 60


def test_a_known_score() -> None:
    """Precisions 5/6, 4/5, 3/4 and 2/3 without brevity penalty give their geometric mean."""
    found = tokenised_bleu(["a b c d e f"], ["a b c d e x"])
    assert found == pytest.approx(100 * (5 / 6 * 4 / 5 * 3 / 4 * 2 / 3) ** 0.25)


def test_nothing_is_smoothed() -> None:
    """Without a matching 4-gram the score is 0, as in multi-bleu."""
    assert tokenised_bleu(["a b c d e"], ["a b x d e"]) == 0.0
