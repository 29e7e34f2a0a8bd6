"""Words and their characters, for classifiers with a character input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from service.bundle.padding import lengths_of, pad_ids, pad_nested_ids
from service.bundle.tokenizer import TextTokenizer
from service.tasks.core.sentence import words_of
from service.tasks.core.task import (
    Array,
    InputStatistics,
    PredictInput,
    input_statistics_of,
)


class SpelledWords(NamedTuple):
    """The id of each word, and the ids of its characters."""

    word_ids: list[int]
    character_ids: list[list[int]]


class SpelledText:
    """A text, or a list of words, with the characters of each word (a `SequenceInput`)."""

    def __init__(
        self, words: TextTokenizer, characters: TextTokenizer, max_words: int, max_word_characters: int
    ) -> None:
        self._words = words
        self._characters = characters
        self._max_words = max_words
        self._max_word_characters = max_word_characters

    def encode(self, value: PredictInput) -> SpelledWords:
        words, _, _ = words_of(value, self._words, self._max_words)
        spelt = [self._characters.encode_characters(word, self._max_word_characters) for word in words]
        return SpelledWords(self._words.encode_words(words), spelt)

    def length(self, sequence: SpelledWords) -> int:
        return len(sequence.word_ids)

    def feeds(self, sequences: Sequence[SpelledWords]) -> dict[str, Array]:
        word_ids = [sequence.word_ids for sequence in sequences]
        characters = pad_nested_ids([sequence.character_ids for sequence in sequences])
        return {"tokens": pad_ids(word_ids), "characters": characters, "lengths": lengths_of(word_ids)}

    def input_statistics(self, sequence: SpelledWords) -> InputStatistics:
        return input_statistics_of(sequence.word_ids)
