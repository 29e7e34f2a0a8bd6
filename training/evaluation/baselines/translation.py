"""Translation baselines: the source itself, and word-by-word translation."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from training.data.records import SentencePair
from training.evaluation.baselines.result import BaselineResult
from training.evaluation.scoring import translation_scores

_MAX_PAIRS = 30_000
_WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")
_BLANK_BEFORE_PUNCTUATION = re.compile(r"\s+([.,!?;:…)])")


def copied_source(dev: Sequence[SentencePair]) -> BaselineResult:
    """The source, not translated at all."""
    return baseline_result("source copied", dev, [pair.source for pair in dev])


def word_by_word(train: Sequence[SentencePair], dev: Sequence[SentencePair]) -> BaselineResult:
    """Translate each word by its best-associated target word; unknown words are copied.

    Association is the Dice coefficient `2 c(s, t) / (c(s) + c(t))`, counted over sentence pairs (Melamed 2000). At
    most 30,000 pairs are read, evenly spread over the file.
    """
    table = _dictionary(train[:: max(1, len(train) // _MAX_PAIRS)])
    hypotheses = []
    for pair in dev:
        words = " ".join(table.get(word, word) for word in _WORD.findall(pair.source))
        hypotheses.append(_BLANK_BEFORE_PUNCTUATION.sub(r"\1", words))
    return baseline_result("word by word", dev, hypotheses)


def _dictionary(train: Sequence[SentencePair]) -> dict[str, str]:
    sources: Counter[str] = Counter()
    targets: Counter[str] = Counter()
    together: Counter[tuple[str, str]] = Counter()
    for pair in train:
        source_words, target_words = sorted(set(_WORD.findall(pair.source))), sorted(set(_WORD.findall(pair.target)))
        sources.update(source_words)
        targets.update(target_words)
        together.update((source, target) for source in source_words for target in target_words)
    best: dict[str, tuple[float, str]] = {}
    for (source, target), count in together.items():
        dice = 2 * count / (sources[source] + targets[target])
        best[source] = max(best.get(source, (0.0, "")), (dice, target))
    return {source: target for source, (_, target) in best.items()}


def baseline_result(name: str, dev: Sequence[SentencePair], hypotheses: Sequence[str]) -> BaselineResult:
    """The measures of a translation baseline."""
    scores = translation_scores([pair.target for pair in dev], hypotheses)
    measures = {"bleu": scores.bleu, "bleu_tokenised": scores.bleu_tokenised, "chrf": scores.chrf}
    measures["exact"] = scores.exact
    return BaselineResult(name, measures)
