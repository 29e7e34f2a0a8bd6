"""Edit distance, alignment and the error rates made of them."""

from __future__ import annotations

import random

import pytest

from training.evaluation.speech.edit_distance import Edits, aligned, edit_distance, edits_of
from training.evaluation.speech.error_rates import Compared, error_rates, speaker_rates


def slow_distance(one: str, other: str) -> int:
    """The definition, cell by cell."""
    row = list(range(len(other) + 1))
    for i, sign in enumerate(one, start=1):
        last, row[0] = row[0], i
        for j, against in enumerate(other, start=1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (sign != against))
    return row[-1]


def test_distance_is_that_of_the_definition() -> None:
    """Random texts, empty ones among them; the alignment has exactly as many edits and spells both sides."""
    chance = random.Random(3)
    for _ in range(60):
        one, other = ("".join(chance.choices("abc ", k=chance.randint(0, 9))) for _ in range(2))
        pairs = aligned(one, other)
        assert edit_distance(one, other) == slow_distance(one, other) == edits_of(pairs).total
        assert ("".join(gold for gold, _ in pairs), "".join(found for _, found in pairs)) == (one, other)


def test_edits_of_words() -> None:
    """One word of each kind of error."""
    pairs = aligned(["go", "to", "the", "shop", "now"], ["go", "two", "the", "now", "please"])
    assert edits_of(pairs) == Edits(substitutions=1, deletions=1, insertions=1)


@pytest.mark.parametrize(
    ("said", "heard", "wer", "cer", "sentence_error"),
    [
        ("seven three", "seven three", 0.0, 0.0, 0.0),
        ("seven  three ", "seven three", 0.0, 0.0, 0.0),
        ("seven three", "", 100.0, 100.0, 100.0),
        ("seven", "eleven seven", 100.0, 140.0, 100.0),
        ("", "", 0.0, 0.0, 0.0),
        ("", "oh", 100.0, 100.0, 100.0),
        ("one two", "one too", 50.0, 100 / 7, 100.0),
    ],
)
def test_rates(said: str, heard: str, wer: float, cer: float, sentence_error: float) -> None:
    """Errors over what was said; silence that is heard as silence is right."""
    assert error_rates([said], [heard]) == pytest.approx({"wer": wer, "cer": cer, "sentence_error": sentence_error})


def test_rates_of_a_set_are_over_all_its_words() -> None:
    """Not the mean of the rates of its utterances."""
    assert error_rates(["a", "b c d"], ["x", "b c d"])["wer"] == 25.0


def test_speakers_count_once_each() -> None:
    """The worst and the mean speaker, without those who said next to nothing."""
    words = "one two three four five six seven eight nine ten"
    compared = [
        Compared(words, words, "anna"),
        Compared(words, words, "anna"),
        Compared(words, words.replace("one", "on").replace("two", "to"), "ben"),
        Compared("one", "nine", "carl"),
    ]
    assert speaker_rates(compared) == {"wer_worst_speaker": 20.0, "wer_mean_speaker": 10.0, "speakers": 2}
    assert speaker_rates(compared[:2]) == {}
