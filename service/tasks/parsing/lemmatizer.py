"""Lemmas of words with their parts of speech: a table of what training saw, and edit scripts for other words.

A word that the table lacks is changed as the words of the table with its tag that end alike are. The shares of their
edit scripts are averaged from the longest common ending to the shortest, each weighed by how many words have it, as
Brants (2000) does for tags; a result that the table knows as a lemma is preferred. What is not made of letters keeps
its form: numbers, addresses, emoji.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Final, NamedTuple
from unicodedata import category

from service.tasks.parsing.lemma_table import LemmaTable, edited, general_script, num_removed, read_table

#: Characters of the longest ending that is looked at, and how many words that have one weigh as much as shorter ones.
_LONGEST: Final = 5
_SHORTER: Final = 3
#: Share of the average that is left out.
_LEAST: Final = 1e-3
#: How much likelier a script is whose result is a lemma of the table with this tag, or with another one.
_KNOWN, _KNOWN_ELSEWHERE = 100.0, 5.0
#: What stands in a word beside letters.
_WITHIN_WORDS: Final = "-'’"


class Lemmatizer:
    """Finds lemmas; a lemma depends on the word and its tag alone.

    Tags that stand first in the table are preferred where a word has none of its own.
    """

    def __init__(self, table: LemmaTable) -> None:
        """Raises ValueError if a script does not fit a word."""
        self._lemmas = read_table(table)
        self._of_words: dict[str, str] = {}
        for (word, _), lemma in self._lemmas.items():
            self._of_words.setdefault(word, lemma)
        self._endings = _Endings(self._lemmas)

    def lemma(self, word: str, tag: str) -> str:
        """The table's lemma of a word as it is written, then in lower case, then with any tag; else that by endings."""
        known = self._lemmas.get((word, tag)) or self._lemmas.get((word.lower(), tag)) or self._of_words.get(word)
        if known is not None:
            return known
        return self._endings.lemma(word, tag) if _is_of_letters(word) else word


def _is_of_letters(word: str) -> bool:
    """Whether a word is made of letters, the marks that belong to them, hyphens and apostrophes."""
    return all(sign in _WITHIN_WORDS or category(sign)[0] in "LM" for sign in word)


class _Ending(NamedTuple):
    """Words that end alike: how many, and how many of each edit script."""

    words: int
    scripts: Mapping[str, int]


class _Endings:
    """The edit scripts of words with a tag, by their last characters."""

    def __init__(self, lemmas: Mapping[tuple[str, str], str]) -> None:
        self._lemmas = {(lemma, tag) for (_, tag), lemma in lemmas.items()}
        self._of_any_tag = {lemma for lemma, _ in self._lemmas}
        counts: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        for (word, tag), lemma in lemmas.items():
            if _is_of_letters(word):
                script = general_script(word, lemma)
                for ending in _endings(word):
                    counts[tag, ending][script] += 1
        # An ending of one word says what that word's shorter ending says, and most endings are of one word.
        self._found = {
            key: _Ending(total, dict(scripts))
            for key, scripts in counts.items()
            if (total := scripts.total()) > 1 or not key[1][1:]
        }

    def lemma(self, word: str, tag: str) -> str:
        """The lemma by the most likely script that leaves a part of the word; the word if no ending of it is known."""
        best, most = word, 0.0
        shares = self._shares(word, tag)
        for script in sorted(shares, key=lambda script: -shares[script]):
            if shares[script] * _KNOWN <= most:  # neither this nor a less likely one can win
                break
            if num_removed(script) >= len(word):
                continue
            lemma = edited(word, script)
            is_known, is_elsewhere = (lemma, tag) in self._lemmas, lemma in self._of_any_tag
            weight = shares[script] * (_KNOWN if is_known else _KNOWN_ELSEWHERE if is_elsewhere else 1.0)
            if weight > most:
                best, most = lemma, weight
        return best

    def _shares(self, word: str, tag: str) -> Mapping[str, float]:
        """The share of each script, averaged over all endings of the word; empty if its last character is new."""
        shares: defaultdict[str, float] = defaultdict(float)
        left = 1.0
        for ending in _endings(word):
            found = self._found.get((tag, ending))
            if found is None or (not ending and not shares):
                continue
            own = left * found.words / (found.words + _SHORTER)
            for script, count in found.scripts.items():
                shares[script] += own * count / found.words
            left -= own
            if left < _LEAST:
                break
        return shares


def _endings(word: str) -> list[str]:
    """The last characters of a word in lower case, the longest first, the empty ending last."""
    last = word.lower()[-_LONGEST:]
    return [last[start:] for start in range(len(last) + 1)]
