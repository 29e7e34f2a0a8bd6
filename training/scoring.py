"""Measures of quality. Shares are percentages from 0 to 100; losses are nats per token."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from service.tasks.spans import bio_spans
from training.records import TaggedSentence

#: The label of texts that belong to none of the other labels (Larson et al. 2019).
OUT_OF_SCOPE = "oos"


class SpanScores(NamedTuple):
    """Micro-averaged over all spans."""

    precision: float
    recall: float
    f1: float


class TranslationScores(NamedTuple):
    """Corpus scores and what sacrebleu needs to know to repeat them (Post 2018)."""

    bleu: float
    chrf: float
    bleu_signature: str
    chrf_signature: str


def accuracy(gold: Sequence[str], predicted: Sequence[str]) -> float:
    """Share of equal labels; 0 when there are none."""
    right = sum(a == b for a, b in zip(gold, predicted, strict=True))
    return percentage(right, len(gold))


def percentage(part: int, whole: int) -> float:
    """`part` of `whole` in percent; 0 of nothing is 0, as in conlleval."""
    return 100.0 * part / whole if whole else 0.0


def span_scores(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> SpanScores:
    """Precision, recall and F1 of whole spans: kind, start and end must all be right (Tjong Kim Sang 2002).

    An `I-X` that continues nothing starts a span, as in conlleval.
    """
    num_gold = num_predicted = num_right = 0
    for gold_tags, predicted_tags in zip(gold, predicted, strict=True):
        wanted, found = set(bio_spans(gold_tags)), set(bio_spans(predicted_tags))
        num_gold += len(wanted)
        num_predicted += len(found)
        num_right += len(wanted & found)
    return SpanScores(
        precision=percentage(num_right, num_predicted),
        recall=percentage(num_right, num_gold),
        # 2PR / (P + R), multiplied out.
        f1=percentage(2 * num_right, num_gold + num_predicted),
    )


def joint_scores(
    gold: Sequence[TaggedSentence], tags: Sequence[Sequence[str]], labels: Sequence[str]
) -> dict[str, float]:
    """Of the texts that have a label: how many got it, and how many got it and every tag (Goo et al. 2018)."""
    rows = [row for row in zip(gold, tags, labels, strict=True) if row[0].label]
    num_labels = sum(record.label == label for record, _, label in rows)
    num_whole = sum(record.label == label and list(record.tags) == list(found) for record, found, label in rows)
    return {
        "label_accuracy": percentage(num_labels, len(rows)),
        "sentence_accuracy": percentage(num_whole, len(rows)),
    }


def macro_f1(gold: Sequence[str], predicted: Sequence[str]) -> float:
    """Mean of the F1 of every label that occurs in the gold or the predicted labels."""
    labels = sorted({*gold, *predicted})
    index = {label: i for i, label in enumerate(labels)}
    num_gold, num_predicted, num_right = np.zeros((3, len(labels)))
    for a, b in zip(gold, predicted, strict=True):
        num_gold[index[a]] += 1
        num_predicted[index[b]] += 1
        num_right[index[a]] += a == b
    return float(100.0 * np.mean(2 * num_right / (num_gold + num_predicted))) if labels else 0.0


def classification_scores(gold: Sequence[str], predicted: Sequence[str]) -> dict[str, float]:
    """`accuracy` and macro `f1`; where there are out-of-scope texts also `accuracy_in_scope` and `recall_oos`."""
    scores = {"accuracy": accuracy(gold, predicted), "f1": macro_f1(gold, predicted)}
    if OUT_OF_SCOPE in gold:
        pairs = list(zip(gold, predicted, strict=True))
        in_scope = [pair for pair in pairs if pair[0] != OUT_OF_SCOPE]
        scores["accuracy_in_scope"] = percentage(sum(a == b for a, b in in_scope), len(in_scope))
        rejected = sum(a == b == OUT_OF_SCOPE for a, b in pairs)
        scores["recall_oos"] = percentage(rejected, len(pairs) - len(in_scope))
    return scores


def translation_scores(references: Sequence[str], hypotheses: Sequence[str]) -> TranslationScores:
    """BLEU and chrF of sacrebleu with its defaults: one reference, cased, detokenised text, tokenizer 13a."""
    bleu, chrf = BLEU(), CHRF()
    bleu_score = bleu.corpus_score(list(hypotheses), [list(references)]).score
    chrf_score = chrf.corpus_score(list(hypotheses), [list(references)]).score
    return TranslationScores(bleu_score, chrf_score, str(bleu.get_signature()), str(chrf.get_signature()))


def negative_log_likelihoods(logits: NDArray[np.float32], targets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Nats of each target. `logits` `[..., vocab]`, `targets` `[...]`; summed in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    log_sums = np.log(np.exp(shifted).sum(axis=-1))
    of_targets = np.take_along_axis(shifted, targets[..., None], axis=-1)[..., 0]
    return np.asarray(log_sums - of_targets, dtype=np.float64)


def perplexity(loss: float) -> float:
    """e to the loss in nats per token; infinite where that is beyond a float."""
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf
