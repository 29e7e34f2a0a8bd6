"""Multiword tokens: one token of a text, several words of a treebank, as "du" is "de le" and "don't" is "do n't"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

#: Longer endings of tokens are not looked up.
MAX_SUFFIX: Final = 8


class MultiwordTokens:
    """Expansion of tokens by a table of whole tokens, and of others by their endings; both in lower case.

    Args:
        expansions: token -> its words; one word for a token that is none in spite of its ending.
        suffixes: the end of a token -> what the first word has in its place, and the words after it.
    """

    def __init__(self, expansions: Mapping[str, tuple[str, ...]], suffixes: Mapping[str, tuple[str, ...]]) -> None:
        """Raises ValueError for a token or an ending without words."""
        if not (all(expansions.values()) and all(suffixes.values())):
            raise ValueError("a multiword token, or the end of one, has no words")
        self._expansions = expansions
        self._suffixes = suffixes

    def words(self, token: str) -> tuple[str, ...]:
        """The words of a token, in its case; nearly always itself alone."""
        form = token.lower()
        if len(form) != len(token):  # some letters are two in lower case
            return (token,)
        found = self._expansions.get(form) or self._by_suffix(form)
        return (token,) if found is None or len(found) == 1 else _in_case_of(token, found)

    def _by_suffix(self, form: str) -> tuple[str, ...] | None:
        """By the longest ending that is known and leaves something before it."""
        for size in range(min(MAX_SUFFIX, len(form) - 1), 0, -1):
            found = self._suffixes.get(form[-size:])
            if found is not None:
                return form[:-size] + found[0], *found[1:]
        return None


def _in_case_of(token: str, words: tuple[str, ...]) -> tuple[str, ...]:
    """The words as they stand in the token if they are its parts; else in capitals, or with one, as the token is."""
    if "".join(words) == token.lower():
        starts = [sum(map(len, words[:number])) for number in range(len(words))]
        return tuple(token[start : start + len(word)] for start, word in zip(starts, words, strict=True))
    if len(token) > 1 and token.isupper():
        return tuple(word.upper() for word in words)
    return (words[0][:1].upper() + words[0][1:], *words[1:]) if token[:1].isupper() else words


def places_of_words(start: int, token: str, words: tuple[str, ...]) -> list[tuple[int, int]]:
    """Start and end of each word of a token that begins at `start`: its part of the token, or else the whole token."""
    if "".join(words) != token:
        return [(start, start + len(token))] * len(words)
    places = []
    for word in words:
        places.append((start, start + len(word)))
        start += len(word)
    return places
