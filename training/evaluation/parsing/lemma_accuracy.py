"""Accuracy of lemmas: of the words whose lemma the treebank knows, compared as they are written, capitals included."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from training.data.readers.treebanks.conllu_line import NOTHING
from training.data.readers.treebanks.lemmas import words_with_lemmas
from training.data.records import ParsedSentence
from training.evaluation.answers import REFUSED
from training.evaluation.scoring import percentage

#: What the baseline does.
LOOK_UP: Final = "most frequent lemma of word and tag, else of the word, else the word in lower case"
#: The tag of names, which keep their capitals.
_NAME: Final = "PROPN"


class LemmaLookUp:
    """The baseline: the most frequent lemma of a word with its tag; of the word; else the word in lower case."""

    def __init__(self, train: Iterable[ParsedSentence]) -> None:
        counts: defaultdict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
        for word, tag, lemma in words_with_lemmas(train):
            counts[word, tag][lemma] += 1
            counts[(word,)][lemma] += 1
        self._best = {key: min(found, key=lambda each: (-found[each], each)) for key, found in counts.items()}

    def has_seen(self, word: str) -> bool:
        """Whether a word, as it is written, stands in train."""
        return (word,) in self._best

    def find(self, word: str, tag: str) -> str:
        """The lemma of a word with this tag. An unknown name is its own lemma, as it is written."""
        known = self._best.get((word, tag)) or self._best.get((word,))
        return known or (word if tag == _NAME else word.lower())

    def find_all(self, sentences: Sequence[ParsedSentence], tags: Sequence[Sequence[str]]) -> list[list[str]]:
        """The lemmas of sentences with predicted tags."""
        pairs = zip(sentences, tags, strict=True)
        return [[self.find(*each) for each in zip(sentence.words, row, strict=True)] for sentence, row in pairs]


class LemmaAccuracy(NamedTuple):
    """Percentages of right lemmas: of all words, of those that train has as they are written, of the others."""

    whole: float
    seen: float
    unseen: float
    num_unseen: int


def lemmas_of(record: ParsedSentence, answer: Any) -> list[str]:
    """The lemmas of an answer of the service; those of a sentence that was refused are wrong."""
    return [REFUSED] * len(record.words) if answer is None else [token.lemma for token in answer.tokens]


def share_of_right_lemmas(gold: Sequence[ParsedSentence], found: Sequence[Sequence[str]]) -> float:
    """The percentage of right lemmas among the words whose lemma is known."""
    cases = [right for _, right in _cases(gold, found)]
    return percentage(sum(cases), len(cases))


def _cases(gold: Sequence[ParsedSentence], found: Sequence[Sequence[str]]) -> Iterator[tuple[str, bool]]:
    """Each word whose lemma is known, and whether its lemma is right."""
    for sentence, lemmas in zip(gold, found, strict=True):
        for word, wanted, given in zip(sentence.words, sentence.lemmas, lemmas, strict=True):
            if wanted != NOTHING or word == NOTHING:
                yield word, given == wanted


def lemma_accuracy(
    gold: Sequence[ParsedSentence], found: Sequence[Sequence[str]], look_up: LemmaLookUp
) -> LemmaAccuracy:
    """Accuracy of the lemmas of each sentence; `look_up` tells which words train has."""
    cases = [(look_up.has_seen(word), right) for word, right in _cases(gold, found)]
    by_part = [[right for is_seen, right in cases if is_seen is part] for part in (True, False)]
    seen, unseen = (percentage(sum(rights), len(rights)) for rights in by_part)
    return LemmaAccuracy(share_of_right_lemmas(gold, found), seen, unseen, len(by_part[1]))
