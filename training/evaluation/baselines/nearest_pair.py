"""The nearest pair of train as a template: its target, with the words swapped in which the two sources differ."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

import numpy as np

from training.data.records import SentencePair
from training.evaluation.baselines.result import BaselineResult
from training.evaluation.baselines.translation import baseline_result

#: Words with what stands inside them, such as paths and numbers; any other mark by itself.
_WORD = re.compile(r"[\w./-]*\w|[^\w\s]")
_DIGIT = re.compile(r"[0-9]")
_BATCH = 1000


def nearest_pair(train: Sequence[SentencePair], dev: Sequence[SentencePair]) -> BaselineResult:
    """The target of the most similar source (cosine of TF-IDF over words and pairs of words, digits alike)."""
    hypotheses = [swapped(train[index], pair.source) for pair, index in zip(dev, _nearest(train, dev), strict=True)]
    return baseline_result("nearest template", dev, hypotheses)


def swapped(template: SentencePair, source: str) -> str:
    """The target of `template`, in which its source's words are replaced by those of `source` that stand instead."""
    target = template.target
    for old, new in _differences(_WORD.findall(template.source), _WORD.findall(source)):
        target = re.sub(rf"(?<!\w){re.escape(old)}(?!\w)", new.replace("\\", r"\\"), target)
    return target


def _differences(before: Sequence[str], after: Sequence[str]) -> Iterator[tuple[str, str]]:
    """What was replaced by what: word by word where as many stand instead, else the whole part."""
    lowered = [word.casefold() for word in before], [word.casefold() for word in after]
    for kind, start, end, other_start, other_end in SequenceMatcher(None, *lowered, autojunk=False).get_opcodes():
        if kind == "replace" and end - start == other_end - other_start:
            yield from zip(before[start:end], after[other_start:other_end], strict=True)
        elif kind == "replace":
            yield " ".join(before[start:end]), " ".join(after[other_start:other_end])


def _nearest(train: Sequence[SentencePair], dev: Sequence[SentencePair]) -> list[int]:
    """The index of the most similar source of train for each of dev; the first of equals."""
    # Imported here: scikit-learn and SciPy take as long as PyTorch, and a process that only trains needs neither.
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=_WORD.pattern)
    known = vectorizer.fit_transform([_DIGIT.sub("0", pair.source) for pair in train])
    asked = vectorizer.transform([_DIGIT.sub("0", pair.source) for pair in dev])
    found: list[int] = []
    for start in range(0, len(dev), _BATCH):
        similar = (asked[start : start + _BATCH] @ known.T).toarray()
        found += [int(index) for index in np.argmax(similar, axis=1)]
    return found
