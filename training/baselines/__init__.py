"""Cheap methods that a network has to beat: a score says little without one of these beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from service.bundle.manifest import TaskName
from training.baselines.classification import linear_classifier, majority_label
from training.baselines.generation import ngram_model
from training.baselines.result import BaselineResult
from training.baselines.tagging import most_frequent_tag
from training.baselines.translation import copied_source, word_by_word
from training.records import LabelledText, Passage, Record, SentencePair, TaggedSentence

__all__ = ["BaselineResult", "baseline_score", "baseline_scores"]


def baseline_score(
    task: TaskName,
    train: Sequence[Record],
    dev: Sequence[Record],
    encode: Callable[[str], Sequence[int]] | None = None,
) -> BaselineResult:
    """The baseline to print beside a score: the strongest that is cheap. See `baseline_scores`."""
    return baseline_scores(task, train, dev, encode)[-1]


def baseline_scores(
    task: TaskName,
    train: Sequence[Record],
    dev: Sequence[Record],
    encode: Callable[[str], Sequence[int]] | None = None,
) -> list[BaselineResult]:
    """All baselines of a task, learned from `train` and scored on `dev`, from the crudest to the strongest.

    `encode` cuts text into token ids for the n-gram model, so that its loss counts the same tokens as the network's;
    without it a token is a character.
    """
    match task:
        case "tagging":
            return [most_frequent_tag(cast("Sequence[TaggedSentence]", train), cast("Sequence[TaggedSentence]", dev))]
        case "classification":
            texts = cast("Sequence[LabelledText]", train), cast("Sequence[LabelledText]", dev)
            return [majority_label(*texts), linear_classifier(*texts)]
        case "translation":
            pairs = cast("Sequence[SentencePair]", train), cast("Sequence[SentencePair]", dev)
            return [copied_source(pairs[1]), word_by_word(*pairs)]
        case "generation":
            return [ngram_model(cast("Sequence[Passage]", train), cast("Sequence[Passage]", dev), encode)]
