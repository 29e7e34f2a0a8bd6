"""Records as text for a language model: tagged sentences spelt out, joints of a tokeniser undone, text turned round."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from training.records import Passage, TaggedSentence

#: Stands for a word that the makers of a text took out.
MISSING_WORD = "\N{REPLACEMENT CHARACTER}"
#: What WikiText puts where a word with a hyphen or a number was cut.
_JOINT = re.compile(r" @([-.,])@ ")
_SENTENCE_END = re.compile(r" ([.!?]) (?=[A-Z\"(])")


def rejoined(text: str) -> str:
    """WikiText as a treebank spells its sentences: words whole, a sentence a line; without headings and empty lines."""
    lines = [line.strip() for line in text.split("\n")]
    kept = "\n".join(line for line in lines if line and not line.startswith("= "))
    whole = _JOINT.sub(r"\1", kept.replace("<unk>", MISSING_WORD))
    return _SENTENCE_END.sub(r" \1\n", whole) + "\n"


def spelt_out(sentences: Iterable[TaggedSentence]) -> Passage:
    """A sentence a line, blanks between its words."""
    return Passage("".join(" ".join(sentence.words) + "\n" for sentence in sentences))


def turned_round(passages: Sequence[Passage]) -> list[Passage]:
    """All of it from its end to its beginning: what a model that reads forward learns from it, it says of backwards."""
    return [Passage(passage.text[::-1]) for passage in reversed(passages)]
