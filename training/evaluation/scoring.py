"""Evaluation metrics. Shares are percentages from 0 to 100; losses are nats per token."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from service.tasks.single_pass.spans import bio_spans
from training.data.records import TaggedSentence
from training.evaluation.out_of_scope import out_of_scope_scores
from training.evaluation.tokenised_bleu import SIGNATURE, tokenised_bleu

#: Shares of what is wrong, in percent.
ERROR_RATES: Final = frozenset({"wer", "cer", "sentence_error"})
#: Measures that fall as a model gets better.
LOWER_IS_BETTER: Final = ERROR_RATES | {
    "loss",
    "mse",
    "mae",
    "mae_in_units",
    "pinball",
    "perplexity",
    "perplexity_per_word",
}
#: The label of out-of-scope texts (Larson et al. 2019).
OUT_OF_SCOPE = "oos"
#: A tokenizer with at least this many tokens per character is one of characters.
LEAST_CHARACTERS = 0.9


class SpanScores(NamedTuple):
    """Micro-averaged over all spans."""

    precision: float
    recall: float
    f1: float


class TranslationScores(NamedTuple):
    """Corpus scores with their sacrebleu signatures (Post 2018).

    `bleu` is computed on detokenised text, `bleu_tokenised` on lower-cased tokens as in older papers. `exact` is the
    share of equal texts once white space is removed (Finegan-Dollak et al. 2018).
    """

    bleu: float
    bleu_tokenised: float
    chrf: float
    exact: float
    bleu_signature: str
    bleu_tokenised_signature: str
    chrf_signature: str


def accuracy(gold: Sequence[str], predicted: Sequence[str]) -> float:
    """Percentage of equal labels; 0 without labels."""
    right = sum(a == b for a, b in zip(gold, predicted, strict=True))
    return percentage(right, len(gold))


def percentage(part: int, whole: int) -> float:
    """`part` of `whole` in percent; 0 of nothing is 0, as in conlleval."""
    return 100.0 * part / whole if whole else 0.0


def span_scores(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> SpanScores:
    """Precision, recall and F1 of spans; label, start and end must match (Tjong Kim Sang 2002).

    An `I-X` without a span to continue starts one, as in conlleval.
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
    """Over texts with a label: `label_accuracy`, and `sentence_accuracy` of label and all tags (Goo et al. 2018)."""
    rows = [row for row in zip(gold, tags, labels, strict=True) if row[0].label]
    num_labels = sum(record.label == label for record, _, label in rows)
    num_whole = sum(record.label == label and list(record.tags) == list(found) for record, found, label in rows)
    return {
        "label_accuracy": percentage(num_labels, len(rows)),
        "sentence_accuracy": percentage(num_whole, len(rows)),
    }


def macro_f1(gold: Sequence[str], predicted: Sequence[str]) -> float:
    """Macro F1 over all labels among the gold or the predicted ones."""
    labels = sorted({*gold, *predicted})
    index = {label: i for i, label in enumerate(labels)}
    num_gold, num_predicted, num_right = np.zeros((3, len(labels)))
    for a, b in zip(gold, predicted, strict=True):
        num_gold[index[a]] += 1
        num_predicted[index[b]] += 1
        num_right[index[a]] += a == b
    return float(100.0 * np.mean(2 * num_right / (num_gold + num_predicted))) if labels else 0.0


def classification_scores(
    gold: Sequence[str],
    predicted: Sequence[str],
    confidences: Sequence[float] | None = None,
    outside: str = OUT_OF_SCOPE,
) -> dict[str, float]:
    """`accuracy` and macro `f1`; with texts labelled `outside` also `accuracy_in_scope` and `recall_oos`.

    With confidences also `recall_oos_at_95`, see `out_of_scope`.
    """
    scores: dict[str, float] = {"accuracy": accuracy(gold, predicted), "f1": macro_f1(gold, predicted)}
    pairs = list(zip(gold, predicted, strict=True))
    in_scope = [pair for pair in pairs if pair[0] != outside]
    if len(in_scope) in (0, len(pairs)):
        return scores
    scores["accuracy_in_scope"] = percentage(sum(a == b for a, b in in_scope), len(in_scope))
    rejected = sum(a == b == outside for a, b in pairs)
    scores["recall_oos"] = percentage(rejected, len(pairs) - len(in_scope))
    if confidences is not None:
        found = out_of_scope_scores(gold, predicted, confidences, outside)
        scores["recall_oos_at_95"] = found.recall
        scores["taken_in_scope_at_95"] = found.taken_in_scope
        scores["threshold_at_95"] = found.threshold
    return scores


def translation_scores(references: Sequence[str], hypotheses: Sequence[str]) -> TranslationScores:
    """BLEU and chrF of sacrebleu with its defaults: one reference, cased, detokenised text, tokenizer 13a; and BLEU
    over tokens (`training/evaluation/tokenised_bleu.py`)."""
    bleu, chrf = BLEU(), CHRF()
    return TranslationScores(
        bleu=bleu.corpus_score(list(hypotheses), [list(references)]).score,
        bleu_tokenised=tokenised_bleu(references, hypotheses),
        chrf=chrf.corpus_score(list(hypotheses), [list(references)]).score,
        exact=accuracy([without_blanks(text) for text in references], [without_blanks(text) for text in hypotheses]),
        bleu_signature=str(bleu.get_signature()),
        bleu_tokenised_signature=SIGNATURE,
        chrf_signature=str(chrf.get_signature()),
    )


def without_blanks(text: str) -> str:
    """The text without any white space, as exact matches of queries and commands are counted."""
    return "".join(text.split())


def negative_log_likelihoods(logits: NDArray[np.float32], targets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Negative log-likelihood of each target in nats. `logits` `[..., vocab]`, `targets` `[...]`; float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    log_sums = np.log(np.exp(shifted).sum(axis=-1))
    of_targets = np.take_along_axis(shifted, targets[..., None], axis=-1)[..., 0]
    return np.asarray(log_sums - of_targets, dtype=np.float64)


def num_words(text: str) -> int:
    """Number of words and line ends, as perplexities of published language models count them."""
    return len(text.split()) + text.count("\n")


def perplexity_per_word(nats: float, texts: Sequence[str]) -> dict[str, float]:
    """`perplexity_per_word` from a loss over any tokens; empty where it overflows.

    The first word of a text is given, not predicted.
    """
    value = perplexity(nats / max(1, sum(max(0, num_words(text) - 1) for text in texts)))
    return {"perplexity_per_word": value} if math.isfinite(value) else {}


def perplexity(loss: float) -> float:
    """The exponential of the loss in nats per token; infinite on overflow."""
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf
