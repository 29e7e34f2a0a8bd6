"""Scores of parsing from raw text, by the rules of the CoNLL 2018 shared task (Zeman et al. 2018).

Tokens and sentences are right if they have the same characters. Words are aligned: those of tokens that are one word by
their characters, those of multiword tokens by a longest common subsequence of forms. All scores are F1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from training.data.readers.treebanks.conllu_line import NOTHING
from training.evaluation.parsing.attachment import universal, universal_features
from training.evaluation.scoring import percentage

#: The head of a root.
ROOT: Final = -1
#: The scores, in the order in which they are told.
RAW_MEASURES: Final = ("tokens", "sentences", "words", "upos", "ufeats", "lemmas", "uas", "las")


class RawWord(NamedTuple):
    """A word of a text. `start` and `end` are those of its token; `head` is an index into all words, or `ROOT`."""

    start: int
    end: int
    is_multiword: bool
    form: str
    tag: str = ""
    feats: str = NOTHING
    lemma: str = NOTHING
    head: int = ROOT
    relation: str = ""


class Cut(NamedTuple):
    """A text that was cut: the places of its tokens and sentences, and its words."""

    tokens: Sequence[tuple[int, int]]
    sentences: Sequence[tuple[int, int]]
    words: Sequence[RawWord]

    def words_of_sentences(self) -> list[list[RawWord]]:
        """The words of each sentence, of which no token has words in two."""
        found: list[list[RawWord]] = [[] for _ in self.sentences]
        number = 0
        for word in self.words:
            while word.start >= self.sentences[number][1]:
                number += 1
            found[number].append(word)
        return found


def joined(parts: Sequence[Cut]) -> Cut:
    """Several parts of one text, whose places count from the beginning of the text, as one."""
    tokens = [place for part in parts for place in part.tokens]
    sentences = [place for part in parts for place in part.sentences]
    words: list[RawWord] = []
    for part in parts:
        before = len(words)
        words += [word if word.head == ROOT else word._replace(head=word.head + before) for word in part.words]
    return Cut(tokens, sentences, words)


def raw_text_scores(gold: Cut, found: Cut, parsed: bool = True) -> dict[str, float]:
    """The F1 of tokens, sentences and words, in percent; with `parsed` also of what is said of words."""
    scores = {
        "tokens": _f1(len(set(gold.tokens) & set(found.tokens)), len(gold.tokens), len(found.tokens)),
        "sentences": _f1(len(set(gold.sentences) & set(found.sentences)), len(gold.sentences), len(found.sentences)),
    }
    pairs = align_words(gold.words, found.words)
    sizes = len(gold.words), len(found.words)
    scores["words"] = _f1(len(pairs), *sizes)
    if parsed:
        scores |= {name: _f1(right, *sizes) for name, right in _right(gold.words, found.words, pairs).items()}
    return scores


def _f1(right: int, wanted: int, given: int) -> float:
    return percentage(2 * right, wanted + given)


Pairs = Sequence[tuple[int, int]]


def _right(gold: Sequence[RawWord], found: Sequence[RawWord], pairs: Pairs) -> dict[str, int]:
    """How many aligned words are right in each respect."""
    of_found = {b: a for a, b in pairs}

    def count(is_right: Callable[[RawWord, RawWord], bool]) -> int:
        return sum(is_right(gold[a], found[b]) for a, b in pairs)

    def has_head(wanted: RawWord, given: RawWord) -> bool:
        return wanted.head == (ROOT if given.head == ROOT else of_found.get(given.head))

    def has_relation(wanted: RawWord, given: RawWord) -> bool:
        return universal(wanted.relation) == universal(given.relation)

    return {
        "upos": count(lambda wanted, given: wanted.tag == given.tag),
        "ufeats": count(lambda wanted, given: universal_features(wanted.feats) == universal_features(given.feats)),
        "lemmas": count(lambda wanted, given: wanted.lemma in (NOTHING, given.lemma)),
        "uas": count(has_head),
        "las": count(lambda wanted, given: has_head(wanted, given) and has_relation(wanted, given)),
    }


def align_words(gold: Sequence[RawWord], found: Sequence[RawWord]) -> list[tuple[int, int]]:
    """The pairs of words, as indices, that are the same word of the text."""
    pairs: list[tuple[int, int]] = []
    a = b = 0
    while a < len(gold) and b < len(found):
        if gold[a].is_multiword or found[b].is_multiword:
            from_a, a, from_b, b = _stretch(gold, found, a, b)
            forms = [[word.form.lower() for word in side] for side in (gold[from_a:a], found[from_b:b])]
            pairs += [(from_a + i, from_b + j) for i, j in _common_subsequence(*forms)]
        elif (gold[a].start, gold[a].end) == (found[b].start, found[b].end):
            pairs.append((a, b))
            a, b = a + 1, b + 1
        elif gold[a].start <= found[b].start:
            a += 1
        else:
            b += 1
    return pairs


def _stretch(gold: Sequence[RawWord], found: Sequence[RawWord], a: int, b: int) -> tuple[int, int, int, int]:
    """The words of both sides within a multiword token, and within those that overlap it: `(from, to, from, to)`."""
    if gold[a].is_multiword:
        end = gold[a].end
        b += not found[b].is_multiword and found[b].start < gold[a].start
    else:
        end = found[b].end
        a += not gold[a].is_multiword and gold[a].start < found[b].start
    from_a, from_b = a, b
    while not (_is_beyond(gold, a, end) and _is_beyond(found, b, end)):
        if a < len(gold) and (b >= len(found) or gold[a].start <= found[b].start):
            end, a = _reach(gold[a], end), a + 1
        else:
            end, b = _reach(found[b], end), b + 1
    return from_a, a, from_b, b


def _is_beyond(words: Sequence[RawWord], place: int, end: int) -> bool:
    if place >= len(words):
        return True
    word = words[place]
    return word.start >= end if word.is_multiword else word.end > end


def _reach(word: RawWord, end: int) -> int:
    return max(end, word.end) if word.is_multiword else end


def _common_subsequence(a: Sequence[str], b: Sequence[str]) -> list[tuple[int, int]]:
    """Indices of a longest common subsequence; stretches are short, so all pairs are looked at."""
    longest = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i in reversed(range(len(a))):
        for j in reversed(range(len(b))):
            both = longest[i + 1][j + 1] + 1 if a[i] == b[j] else 0
            longest[i][j] = max(both, longest[i + 1][j], longest[i][j + 1])
    pairs, i, j = list[tuple[int, int]](), 0, 0
    while i < len(a) and j < len(b):
        if a[i] == b[j]:
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif longest[i + 1][j] >= longest[i][j + 1]:
            i += 1
        else:
            j += 1
    return pairs
