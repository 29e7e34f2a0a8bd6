"""Classification with a second input of the characters of each word."""

from __future__ import annotations

import numpy as np
import pytest

from service.bundle.task_options import ClassificationOptions
from service.errors import InvalidInput
from service.tasks.single_pass.classification import Classification, ClassificationParameters
from tests.tasks.builders import FunctionRunner, bundle, character_tokenizer, word_tokenizer

WORDS, CHARACTERS = word_tokenizer(["bad", "cab"]), character_tokenizer("abcd")


@pytest.fixture
def task() -> Classification:
    options = ClassificationOptions(max_word_characters=2)
    tokenizers = {"text": WORDS, "characters": CHARACTERS}
    return Classification(bundle(options, tokenizers, ("x", "y"), ("tokens", "characters", "lengths")))


def test_words_and_characters_are_fed_side_by_side(task: Classification) -> None:
    """Words and characters are padded on both axes and truncated to the character limit, for raw and split text."""
    runner = FunctionRunner(classifier=lambda feeds: {"logits": np.zeros((len(feeds["lengths"]), 2), np.float32)})
    values: list[str | list[str]] = ["bad dab cab", ["a"]]
    task.run(runner, [task.preprocess(value, ClassificationParameters()) for value in values])
    ((_, feeds),) = runner.calls
    a, b, c, d = (CHARACTERS.encode(letter)[0] for letter in "abcd")
    assert feeds["tokens"].tolist() == [WORDS.encode_words(["bad", "dab", "cab"]), [1, 0, 0]]
    assert feeds["characters"].tolist() == [[[b, a], [d, a], [c, a]], [[a, 0], [0, 0], [0, 0]]]
    assert feeds["lengths"].tolist() == [3, 1]


def test_length_and_reading_count_words(task: Classification) -> None:
    """Input length counts words, and out-of-vocabulary words count as unknown."""
    example = task.preprocess("bad dab", ClassificationParameters())
    assert example.length == 2
    assert task.input_statistics(example) == (2, 1)


@pytest.mark.parametrize("value", [" ", [], "bad " * 65])
def test_what_a_text_classifier_refuses_is_refused(task: Classification, value: str | list[str]) -> None:
    """Blank texts, empty texts and texts longer than the bundle's 64 words are refused."""
    with pytest.raises(InvalidInput):
        task.preprocess(value, ClassificationParameters())
