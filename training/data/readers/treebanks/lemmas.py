"""The lemmas of a treebank."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from training.data.readers.treebanks.conllu_line import NOTHING
from training.data.records import ParsedSentence


class LemmaType(NamedTuple):
    """A word as it is written, its part of speech, and its lemma."""

    word: str
    tag: str
    lemma: str


def words_with_lemmas(sentences: Iterable[ParsedSentence]) -> Iterator[LemmaType]:
    """Every word whose lemma is known; a treebank writes `_` for none, as in the parts of a word cut by mistake."""
    for sentence in sentences:
        for word, tag, lemma in zip(sentence.words, sentence.tags, sentence.lemmas, strict=False):
            if lemma != NOTHING or word == NOTHING:
                yield LemmaType(word, tag, lemma)
