"""Words of train with their parts of speech and lemmas, and the table of them that a bundle has."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Final

from service.errors import UnrollError
from service.tasks.parsing.lemma_table import LemmaTable, edit_script
from training.data.readers.treebanks.lemmas import LemmaType, words_with_lemmas
from training.data.records import ParsedSentence

#: With fewer words than this that have a lemma, there is nothing to learn from.
MIN_LEMMAS: Final = 100


class NoLemmas(UnrollError):
    """A parser cannot be given lemmas; the message says why."""


#: How often each lemma was seen, by word and part of speech.
LemmaCounts = Mapping[tuple[str, str], Counter[str]]


def count_lemmas(sentences: Iterable[ParsedSentence]) -> LemmaCounts:
    """Count the lemmas of train."""
    counts: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for word, tag, lemma in words_with_lemmas(sentences):
        counts[word, tag][lemma] += 1
    return counts


def lemma_types(counts: LemmaCounts) -> list[LemmaType]:
    """Each word and tag once, with its most frequent lemma; of equally frequent ones the first in the alphabet."""
    return [LemmaType(word, tag, _most_frequent(found)) for (word, tag), found in sorted(counts.items())]


def lemma_table(counts: LemmaCounts) -> dict[str, dict[str, str]]:
    """The table of a bundle: tag -> edit script -> words, separated by blanks.

    Where the lemma is in lower case so is the entry, which holds for the word in any case; a word that differs from it
    has an entry of its own. Words with white space have none. Tags with many words come first.
    """
    lower: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for (word, tag), found in counts.items():
        for lemma, count in found.items():
            if lemma == lemma.lower():
                lower[word.lower(), tag][lemma] += count
    general = {key: _most_frequent(found) for key, found in lower.items()}
    own = {(word, tag): lemma for word, tag, lemma in lemma_types(counts) if general.get((word.lower(), tag)) != lemma}
    table: defaultdict[str, defaultdict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for (word, tag), lemma in sorted((general | own).items()):
        if not any(map(str.isspace, word + lemma)):
            table[tag][edit_script(word, lemma)].append(word)
    sizes = {tag: sum(map(len, scripts.values())) for tag, scripts in table.items()}
    tags = sorted(table, key=lambda tag: (-sizes[tag], tag))
    return {tag: {script: " ".join(words) for script, words in table[tag].items()} for tag in tags}


def table_lines(table: LemmaTable) -> tuple[str, ...]:
    """A table as lines of a part of speech, an edit script, and words; a run folder keeps it so."""
    return tuple(f"{tag} {script} {words}" for tag, scripts in table.items() for script, words in scripts.items())


def table_of(lines: Iterable[str]) -> dict[str, dict[str, str]]:
    """The table of `table_lines`."""
    table: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for line in lines:
        tag, script, words = line.split(" ", 2)
        table[tag][script] = words
    return dict(table)


def has_lemmas(sentences: Iterable[ParsedSentence]) -> bool:
    """Whether enough words have a lemma to learn from."""
    return _num_lemmas(sentences) >= MIN_LEMMAS


def require_lemmas(sentences: Iterable[ParsedSentence]) -> None:
    """Raises NoLemmas if too few words have a lemma to learn from."""
    found = _num_lemmas(sentences)
    if found < MIN_LEMMAS:
        what = f"{found} words of train have a lemma" if found else "no word of train has a lemma"
        raise NoLemmas(f"{what}, at least {MIN_LEMMAS} are needed; they stand in column 3 of CoNLL-U")


def _num_lemmas(sentences: Iterable[ParsedSentence]) -> int:
    return sum(1 for _ in words_with_lemmas(sentences))


def _most_frequent(found: Counter[str]) -> str:
    return min(found, key=lambda lemma: (-found[lemma], lemma))
