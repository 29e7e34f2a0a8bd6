"""Classification of errors by kind."""

from __future__ import annotations

import pytest

from training.evaluation.analysis.errors import kinds, label_errors, span_errors, tag_errors, translation_errors

WORDS = ["yesterday", "Ada", "Lovelace", "met", "Charles", "Babbage", "in", "London"]
GOLD = ["O", "B-PER", "I-PER", "O", "B-PER", "I-PER", "O", "B-LOC"]


@pytest.mark.parametrize(
    ("predicted", "expected"),
    [
        (GOLD, []),
        (["O", "B-ORG", "I-ORG", "O", *GOLD[4:]], [("type", "Ada Lovelace [PER]", "Ada Lovelace [ORG]")]),
        (["O", "O", "B-PER", "O", *GOLD[4:]], [("boundary", "Ada Lovelace [PER]", "Lovelace [PER]")]),
        (["B-ORG", "I-ORG", "O", "O", *GOLD[4:]], [("boundary and type", "Ada Lovelace [PER]", "yesterday Ada [ORG]")]),
        ([*GOLD[:7], "O"], [("missed", "London [LOC]", "nothing")]),
        (["B-LOC", *GOLD[1:]], [("spurious", "nothing", "yesterday [LOC]")]),
    ],
)
def test_kinds_of_span_errors(predicted: list[str], expected: list[tuple[str, str, str]]) -> None:
    """Type, boundary, type-and-boundary, missed and spurious errors are classified; correct spans give none."""
    assert [case[:3] for case in span_errors(WORDS, GOLD, predicted)] == expected


def test_an_error_shows_its_surroundings() -> None:
    """The error is shown in brackets with four words of context on either side."""
    (case,) = span_errors(WORDS, GOLD, [*GOLD[:7], "O"])
    assert case.text == "met Charles Babbage in [London]"
    (case,) = tag_errors(["the", "old", "man"], ["D", "A", "N"], ["D", "N", "N"])
    assert case == ("A -> N", "A", "N", "the [old] man")


def test_wrong_labels_are_grouped_by_pair() -> None:
    """Errors are grouped by label pair in descending frequency; a refused text has no prediction."""
    cases = label_errors([("one", "a", "b"), ("two", "a", "b"), ("three", "a", "a"), ("four", "b", "")])
    assert kinds(cases) == [("a -> b", 2), ("b -> nothing", 1)]
    assert [case.text for case in cases] == ["one", "two", "four"]


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("", "empty answer"),
        ("the cat sees a dog today", "source copied"),
        ("das tier das tier das tier sieht", "repeats itself"),
        ("das tier", "too short"),
        ("das tier sieht heute einen hund und noch einen und den da", "too long"),
        ("das tier sieht heute keinen hund", "other words"),
    ],
)
def test_suspicious_translations(said: str, kind: str) -> None:
    """The reason why a translation is suspicious is stated."""
    source, reference = "the cat sees a dog today", "das tier sieht heute einen hund"
    (case,) = translation_errors([(source, reference, said)])
    assert (case.kind, case.gold, case.predicted, case.text) == (kind, reference, said, source)


def test_translations_are_listed_from_the_worst() -> None:
    """Suspicious translations come first, then the lowest chrF; an exact match is no error."""
    reference = "das tier sieht heute einen hund"
    said = ["das tier sieht heute einen bund", reference, "ein vogel hört gern ganz andere", ""]
    cases = translation_errors([(f"source {i}", reference, each) for i, each in enumerate(said)])
    assert [case.predicted for case in cases] == ["", said[2], said[0]]
