"""Words and marks of a text as tokens that can be joined again: joiner annotation (Klein et al. 2017).

A mark that touches its neighbour carries a joiner on that side: `("%MDE%")` is cut into `(￭ "￭ %￭ MDE ￭% ￭" ￭)`, where
words stay as they are written anywhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

JOINER: Final = "\uffed"
#: Written instead of a joiner that the text itself has.
REPLACED_JOINER: Final = "\u25aa"


class Place(NamedTuple):
    """Where a token stands: `text[start:end]`, in characters (code points)."""

    start: int
    end: int


class JoinedText(NamedTuple):
    """A text, and the place of each of its tokens without joiners."""

    text: str
    places: list[Place]


def join_words(tokens: Sequence[str]) -> JoinedText:
    """The text of tokens: a blank between two of them, unless one has a joiner on that side."""
    parts, places, length, is_joined = list[str](), list[Place](), 0, True
    for token in tokens:
        is_joined = is_joined or token.startswith(JOINER)
        word = token.strip(JOINER)
        parts.append(word if is_joined else f" {word}")
        start, length = length + (not is_joined), length + len(parts[-1])
        places.append(Place(start, length))
        is_joined = token.endswith(JOINER)
    return JoinedText("".join(parts), places)
