"""A table of lemmas: for a word and its part of speech what training saw, kept small by edit scripts.

An edit script `3-y` takes three characters off the end of a word and adds a `y` (Chrupała 2006): "cities" -> "city".
`l3-y` does so with the word in lower case, `t3-y` with its first letter alone in upper case. Words of one script stand
together in the table, so that a word costs hardly more than its characters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

#: Part of speech -> edit script -> words, separated by blanks.
LemmaTable = Mapping[str, Mapping[str, str]]

_CASES: Final[Mapping[str, Callable[[str], str]]] = {"l": str.lower, "t": str.capitalize}


def edit_script(word: str, lemma: str) -> str:
    """The script that makes a lemma of a word: the number of characters to take off, `-`, those to add."""
    common = 0
    while common < min(len(word), len(lemma)) and word[common] == lemma[common]:
        common += 1
    return f"{len(word) - common}-{lemma[common:]}"


def general_script(word: str, lemma: str) -> str:
    """The script that other words are most likely to share: in lower case if the lemma is, else the shortest."""
    if lemma == lemma.lower():
        return "l" + edit_script(word.lower(), lemma)
    as_it_is, as_title = edit_script(word, lemma), "t" + edit_script(word.capitalize(), lemma)
    return as_title if len(as_title) < len(as_it_is) else as_it_is


def edited(word: str, script: str) -> str:
    """Apply a script. Raises ValueError for what is no script, or takes off more than there is."""
    change = _CASES.get(script[:1])
    start = word if change is None else change(word)
    number, separator, added = script[change is not None :].partition("-")
    if not (separator and number.isdecimal()) or int(number) > len(start):
        raise ValueError(f"no edit script for {word!r}: {script!r}; one is as 3-y")
    return start[: len(start) - int(number)] + added


def num_removed(script: str) -> int:
    """The characters that a script takes off."""
    return int(script.lstrip("lt").partition("-")[0])


def read_table(table: LemmaTable) -> dict[tuple[str, str], str]:
    """`(word, tag)` -> lemma. Raises ValueError if a script does not fit a word, or leaves nothing of it."""
    lemmas = {
        (word, tag): edited(word, script)
        for tag, by_script in table.items()
        for script, words in by_script.items()
        for word in words.split(" ")
        if word
    }
    for (word, tag), lemma in lemmas.items():
        if not lemma:
            raise ValueError(f"the lemma of {word!r} with the tag {tag} is empty")
    return lemmas
