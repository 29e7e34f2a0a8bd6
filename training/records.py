"""What a data set is made of, once read: one small type per task."""

from __future__ import annotations

from typing import NamedTuple

Words = tuple[str, ...]


class TaggedSentence(NamedTuple):
    """One tag per word."""

    words: Words
    tags: tuple[str, ...]


class LabelledText(NamedTuple):
    """One label per text."""

    text: str
    label: str


class SentencePair(NamedTuple):
    """A sentence and its translation."""

    source: str
    target: str


class Passage(NamedTuple):
    """Running text for a language model: a whole file, or one document of it."""

    text: str


Record = TaggedSentence | LabelledText | SentencePair | Passage
