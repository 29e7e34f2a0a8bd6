"""Parsing baselines: look-ups of tags, without a network and without a search for the best tree."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from service.tasks.parsing.head_encoding import ROOT, decode_head, encode_heads
from training.data.readers.treebanks.conllu_line import NOTHING
from training.data.readers.treebanks.lemmas import words_with_lemmas
from training.data.records import ParsedSentence
from training.evaluation.baselines.result import BaselineResult
from training.evaluation.baselines.tagging import tags_of_words
from training.evaluation.parsing.attachment import Parse, attachment_scores
from training.evaluation.parsing.lemma_accuracy import LemmaLookUp, share_of_right_lemmas

#: Contexts seen more rarely in train are not believed.
_MIN_COUNT: Final = 3
#: Beyond the ends of a sentence.
_OUTSIDE: Final = ""


class _Arc(NamedTuple):
    """The head of a word, in an encoding that is relative to tags, and the relation to it."""

    encoding: str
    relation: str


def neighbour(train: Sequence[ParsedSentence], dev: Sequence[ParsedSentence]) -> BaselineResult:
    """Every word depends on the one beside it, on the side that is right more often; most frequent tag and relation."""
    tags, relation = tags_of_words(train, dev), _relations_of_tags(train)
    on_left, on_right = (sum(_beside(sentence, step) for sentence in train) for step in (-1, 1))
    side, root = ("before", 0) if on_left >= on_right else ("after", -1)
    parses = []
    for words in tags:
        heads = list(range(len(words))) if root == 0 else [*range(2, len(words) + 1), 0]
        relations = [relation.get(tag, NOTHING) if head else "root" for tag, head in zip(words, heads, strict=True)]
        parses.append(Parse(words, heads, relations, [NOTHING] * len(words)))
    return _result(f"the word {side} as head", dev, parses)


def _beside(sentence: ParsedSentence, step: int) -> int:
    return sum(head == word + step for word, head in enumerate(sentence.heads, start=1) if head)


def _relations_of_tags(train: Sequence[ParsedSentence]) -> dict[str, str]:
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for sentence in train:
        for tag, relation in zip(sentence.tags, sentence.relations, strict=True):
            counts[tag][relation] += 1
    return {tag: found.most_common(1)[0][0] for tag, found in counts.items()}


def frequent_arcs(train: Sequence[ParsedSentence], dev: Sequence[ParsedSentence]) -> BaselineResult:
    """The most frequent head and relation of each word between its neighbours' tags; all else is looked up."""
    best, feats, look_up = _best_arcs(train), _features_of_words(train), LemmaLookUp(train)
    found_tags = tags_of_words(train, dev)
    parses = []
    for sentence, tags in zip(dev, found_tags, strict=True):
        arcs = [_arc_of(tags, sentence.words, place, best) for place in range(len(tags))]
        found = [_features(word, tag, feats) for word, tag in zip(sentence.words, tags, strict=True)]
        heads = [_head(tags, place, arc.encoding) for place, arc in enumerate(arcs)]
        parses.append(Parse(tags, heads, [arc.relation for arc in arcs], found))
    result = _result("most frequent head and relation by tags around the word", dev, parses)
    if any(words_with_lemmas(dev)):
        result.measures["lemmas"] = share_of_right_lemmas(dev, look_up.find_all(dev, found_tags))
    return result


def _result(name: str, dev: Sequence[ParsedSentence], parses: Sequence[Parse]) -> BaselineResult:
    return BaselineResult(name, attachment_scores(zip(dev, parses, strict=True)))


def _best_arcs(train: Sequence[ParsedSentence]) -> dict[tuple[str, ...], _Arc]:
    """For each context that is seen often enough its most frequent arc."""
    counts: defaultdict[tuple[str, ...], Counter[_Arc]] = defaultdict(Counter)
    for sentence in train:
        encodings = encode_heads(sentence.tags, sentence.heads)
        for place, arc in enumerate(map(_Arc, encodings, sentence.relations)):
            for context in _contexts(sentence.tags, sentence.words, place):
                counts[context][arc] += 1
    often = {context: found for context, found in counts.items() if found.total() >= _MIN_COUNT or len(context) == 1}
    return {context: min(found, key=lambda arc: (-found[arc], arc)) for context, found in often.items()}


def _contexts(tags: Sequence[str], words: Sequence[str], place: int) -> Iterator[tuple[str, ...]]:
    """From the widest context of a word to its tag alone, and to nothing."""
    padded = [_OUTSIDE, _OUTSIDE, *tags, _OUTSIDE, _OUTSIDE]
    far_left, left, own, right, far_right = padded[place : place + 5]
    word = words[place].lower()
    yield word, far_left, left, own, right, far_right
    yield word, left, own, right
    yield far_left, left, own, right, far_right
    yield left, own, right
    yield own, right
    yield (own,)


def _arc_of(tags: Sequence[str], words: Sequence[str], place: int, best: dict[tuple[str, ...], _Arc]) -> _Arc:
    found = (best[context] for context in _contexts(tags, words, place) if context in best)
    return next(found, _Arc(ROOT, "root"))


def _head(tags: Sequence[str], place: int, encoding: str) -> int:
    """The head that is meant; the word before, where the sentence has no such word."""
    head = decode_head(tags, place, encoding)
    return place if head is None else head


def _features_of_words(train: Sequence[ParsedSentence]) -> dict[tuple[str, ...], str]:
    counts: defaultdict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for sentence in train:
        for word, tag, feats in zip(sentence.words, sentence.tags, sentence.feats, strict=True):
            for key in ((word.lower(), tag), (tag,)):
                counts[key][feats] += 1
    return {key: found.most_common(1)[0][0] for key, found in counts.items()}


def _features(word: str, tag: str, known: dict[tuple[str, ...], str]) -> str:
    return known.get((word.lower(), tag)) or known.get((tag,), NOTHING)
