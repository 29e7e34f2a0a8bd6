"""A table of lemmas: for a word and its part of speech what training saw, kept small by edit scripts.

An edit script `3-y` takes three characters off the end of a word and adds a `y` (Chrupała 2006): "cities" -> "city".
Words of one script stand together, so that a word costs hardly more than its characters.
"""

from __future__ import annotations

from collections.abc import Mapping

#: Part of speech -> edit script -> words, separated by blanks.
LemmaTable = Mapping[str, Mapping[str, str]]


def edit_script(word: str, lemma: str) -> str:
    """The script that makes a lemma of a word: the number of characters to take off, `-`, those to add."""
    common = 0
    while common < min(len(word), len(lemma)) and word[common] == lemma[common]:
        common += 1
    return f"{len(word) - common}-{lemma[common:]}"


def edited(word: str, script: str) -> str:
    """Apply a script. Raises ValueError for what is no script, or takes off more than there is."""
    number, separator, added = script.partition("-")
    if not (separator and number.isdecimal()) or int(number) > len(word):
        raise ValueError(f"no edit script for {word!r}: {script!r}; one is as 3-y")
    return word[: len(word) - int(number)] + added


class KnownLemmas:
    """Look-up of a word with its tag as it is, then in lower case; then of the word as it is with any other tag.

    The last is for tags that are wrong more often than the word is new to them. Tags that stand first in the table are
    preferred.
    """

    def __init__(self, table: LemmaTable) -> None:
        """Raises ValueError if a script does not fit a word."""
        self._lemmas = {
            (word, tag): edited(word, script)
            for tag, by_script in table.items()
            for script, words in by_script.items()
            for word in words.split(" ")
            if word
        }
        self._of_words: dict[str, str] = {}
        for (word, _), lemma in self._lemmas.items():
            self._of_words.setdefault(word, lemma)

    def find(self, word: str, tag: str) -> str | None:
        """The lemma of a word with this part of speech; None if the word is not in the table."""
        found = self._lemmas.get((word, tag))
        if found is None:
            found = self._lemmas.get((word.lower(), tag))
        return self._of_words.get(word) if found is None else found
