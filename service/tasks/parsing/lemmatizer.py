"""Lemmas of words with their parts of speech: a table of what training saw, and a character decoder for other words.

The network writes a lemma character by character, greedily (Bergmanis and Goldwater 2018; the table in front of it as
Stanza has it). It is run once for each distinct word that the table lacks, over all sentences of a batch; the number of
its steps is bounded by the length of the word. What it was not made for keeps its form: numbers, addresses and whatever
else is not made of letters, words with characters that training has not seen, and long ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from service.bundle.load import Bundle
from service.bundle.padding import IntArray, lengths_of, pad_ids
from service.bundle.task_options import LemmatizerOptions
from service.bundle.tokenizer import BOS, EOS, UNK, TextTokenizer
from service.tasks.core.task import Array, Runner
from service.tasks.parsing.lemma_table import KnownLemmas

LEMMA_ENCODER: Final = "lemma_encoder"
LEMMA_DECODER: Final = "lemma_decoder"
#: A lemma has at most so many characters more than its word.
MORE_CHARACTERS: Final = 8
#: What stands in a word beside letters.
_WITHIN_WORDS: Final = "-'’"
#: Words of one run. More make it no faster, and cost memory.
_ROWS: Final = 128


class TaggedWord(NamedTuple):
    """A word, and the id of its part of speech."""

    word: str
    tag_id: int


class Lemmatizer:
    """Finds the lemmas of words for a bundle that has the graphs `lemma_encoder` and `lemma_decoder`."""

    def __init__(self, bundle: Bundle, options: LemmatizerOptions) -> None:
        self._labels = bundle.manifest.labels
        self._characters = bundle.tokenizers["characters"]
        self._known = KnownLemmas(options.table)
        self._max_characters = options.max_characters

    def lemmas(self, runner: Runner, sentences: Sequence[Sequence[TaggedWord]]) -> list[list[str | None]]:
        """The lemma of each word of each sentence; None where the network computed no finite numbers.

        Raises:
            InferenceFailed: a graph failed.
        """
        distinct = dict.fromkeys(word for sentence in sentences for word in sentence)
        found: dict[TaggedWord, str | None] = {word: self._without_network(word) for word in distinct}
        ids = {word: self._ids_of(word.word) for word in distinct if found[word] is None}
        # Words of similar length together, so that short ones do not wait for long ones.
        unknown = sorted(ids, key=lambda word: len(ids[word]))
        for start in range(0, len(unknown), _ROWS):
            words = unknown[start : start + _ROWS]
            written = self._written(runner, words, [ids[word] for word in words])
            found.update(zip(words, written, strict=True))
        return [[found[word] for word in sentence] for sentence in sentences]

    def _without_network(self, tagged: TaggedWord) -> str | None:
        """The lemma of a word that the table has, or that the network cannot read; None for all others."""
        word = tagged.word
        known = self._known.find(word, self._labels[tagged.tag_id])
        if known is not None:
            return known
        return None if is_readable(word, self._characters, self._max_characters) else word

    def _ids_of(self, word: str) -> list[int]:
        return self._characters.encode_characters(word, self._max_characters)

    def _written(self, runner: Runner, words: Sequence[TaggedWord], spelled: Sequence[list[int]]) -> list[str | None]:
        """What the network writes for each word; the word itself where it finds no end, or writes nothing."""
        lengths = lengths_of(spelled)
        feeds = {
            "characters": pad_ids(spelled),
            "tags": np.array([word.tag_id for word in words], dtype=np.int64),
            "lengths": lengths,
        }
        letters, is_finite = _decoded(runner, feeds, int(lengths.max()) + MORE_CHARACTERS)
        return [
            self._read(tagged.word, letters[row].tolist()) if is_finite[row] else None
            for row, tagged in enumerate(words)
        ]

    def _read(self, word: str, letters: list[int]) -> str:
        # A word has the same lemma whatever words it is decoded with: the limit of its length is its own.
        end = letters.index(EOS) if EOS in letters else len(letters)
        is_whole = end < len(letters) and end <= len(word) + MORE_CHARACTERS
        return (self._characters.decode(letters[:end]).strip() if is_whole else "") or word


def is_readable(word: str, characters: TextTokenizer, max_characters: int) -> bool:
    """Whether the network reads a word: letters that it knows, hyphens and apostrophes, at least one letter."""
    if len(word) > max_characters or not all(sign.isalpha() or sign in _WITHIN_WORDS for sign in word):
        return False
    return any(map(str.isalpha, word)) and UNK not in characters.encode_characters(word, max_characters)


def _decoded(runner: Runner, words: dict[str, Array], steps: int) -> tuple[IntArray, Array]:
    """Decode greedily until every word has ended, at most `steps` and one for the end.

    Returns:
        the characters written, `[words, steps]`, with whatever follows an end; and whether the numbers of each word
        were finite up to its end, `[words]`.
    """
    outputs = runner.run(LEMMA_ENCODER, words)
    memory = {"memory": outputs["memory"], "memory_keys": outputs["memory_keys"]}
    size = len(words["lengths"])
    letter = np.full(size, BOS, dtype=np.int64)
    is_finite, has_ended = np.ones(size, dtype=bool), np.zeros(size, dtype=bool)
    written = []
    for _ in range(steps + 1):
        feeds = {**words, **memory, "letter": letter, "hidden": outputs["next_hidden"]}
        outputs = runner.run(LEMMA_DECODER, feeds)
        scores = outputs["probabilities"]
        is_finite &= has_ended | np.isfinite(scores).all(axis=1)
        # Only an end and characters can be written.
        letter = np.asarray(scores[:, EOS:].argmax(axis=1) + EOS, dtype=np.int64)
        written.append(letter)
        has_ended |= letter == EOS
        if has_ended.all():
            break
    return np.stack(written, axis=1), is_finite
