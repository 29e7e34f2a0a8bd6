"""Tagging baseline: the most frequent tag of each word, without context."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from training.data.readers.schemes import span_scheme
from training.data.records import LabelledText, ParsedSentence, TaggedSentence
from training.evaluation.baselines.classification import LINEAR, linear_labels
from training.evaluation.baselines.result import BaselineResult
from training.evaluation.scoring import accuracy, joint_scores, span_scores

_LONGEST_SUFFIX = 4


def most_frequent_tag(train: Sequence[TaggedSentence], dev: Sequence[TaggedSentence]) -> BaselineResult:
    """The most frequent tag of each word; unknown words use the longest known suffix with the same capitalisation."""
    predicted = tags_of_words(train, dev)
    gold = [sentence.tags for sentence in dev]
    measures = {
        "accuracy": accuracy([tag for tags in gold for tag in tags], [tag for tags in predicted for tag in tags])
    }
    if span_scheme(sentence.tags for sentence in train) == "bio":
        measures.update(span_scores(gold, predicted)._asdict())
    return BaselineResult("most frequent tag per word", measures)


def tags_and_label(train: Sequence[TaggedSentence], dev: Sequence[TaggedSentence]) -> BaselineResult:
    """`most_frequent_tag` for the words, and a linear classifier for the label of the text."""
    tags, labelled = most_frequent_tag(train, dev), [sentence for sentence in train if sentence.label]
    labels = linear_labels(*([LabelledText(" ".join(s.words), s.label) for s in part] for part in (labelled, dev)))
    measures = {**tags.measures, **joint_scores(dev, tags_of_words(train, dev), labels)}
    return BaselineResult(f"{tags.name}; {LINEAR} for the text", measures)


def tags_of_words(
    train: Sequence[TaggedSentence | ParsedSentence], dev: Sequence[TaggedSentence | ParsedSentence]
) -> list[list[str]]:
    """The most frequent tag of each word of `dev`."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for sentence in train:
        for word, tag in zip(sentence.words, sentence.tags, strict=True):
            for cue in _cues(word):
                counts[cue][tag] += 1
    best = {cue: min(tags, key=lambda tag: (-tags[tag], tag)) for cue, tags in counts.items()}
    return [[_tag(word, best) for word in sentence.words] for sentence in dev]


def _tag(word: str, best: dict[str, str]) -> str:
    return next(best[cue] for cue in _cues(word) if cue in best)


def _cues(word: str) -> Iterator[str]:
    """The word, then ever shorter suffixes with the word's shape, then the empty string, which all words share."""
    yield f"word:{word}"
    shape = "digit" if any(c.isdigit() for c in word) else "upper" if word[:1].isupper() else "lower"
    for length in range(_LONGEST_SUFFIX, 0, -1):
        if len(word) > length:
            yield f"{shape}:{word[-length:].lower()}"
    yield f"{shape}:"
    yield ""
