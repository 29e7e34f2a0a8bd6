"""Cheap methods that a network has to beat: a score says little without one of these beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from service.bundle.manifest import ClassificationOptions, ForecastingOptions, TaskName, TaskOptions
from training.data.records import (
    CaptionedPicture,
    LabelledSignal,
    LabelledText,
    Passage,
    Record,
    SentencePair,
    TaggedSentence,
)
from training.evaluation.baselines.captioning import most_frequent_caption, nearest_picture
from training.evaluation.baselines.classification import linear_classifier, majority_label
from training.evaluation.baselines.forecasting import forecasting_baselines
from training.evaluation.baselines.generation import ngram_models
from training.evaluation.baselines.result import BaselineResult
from training.evaluation.baselines.signals import linear_on_summaries
from training.evaluation.baselines.tagging import most_frequent_tag, tags_and_label
from training.evaluation.baselines.translation import copied_source, word_by_word
from training.preprocessing.windows import one_series

__all__ = ["BaselineResult", "baseline_score", "baseline_scores"]


def baseline_score(
    task: TaskName,
    train: Sequence[Record],
    dev: Sequence[Record],
    encode: Callable[[str], Sequence[int]] | None = None,
    options: TaskOptions | None = None,
) -> BaselineResult:
    """The baseline to print beside a score: the strongest that is cheap. See `baseline_scores`."""
    return baseline_scores(task, train, dev, encode, options)[-1]


def baseline_scores(
    task: TaskName,
    train: Sequence[Record],
    dev: Sequence[Record],
    encode: Callable[[str], Sequence[int]] | None = None,
    options: TaskOptions | None = None,
) -> list[BaselineResult]:
    """All baselines of a task, learned from `train` and scored on `dev`, from the crudest to the strongest.

    `encode` cuts text into token ids for the n-gram model, so that its loss counts the same tokens as the network's;
    without it a token is a character. `options` say what a forecaster looks back on and how far ahead.
    """
    match task:
        case "tagging":
            sentences = cast("Sequence[TaggedSentence]", train), cast("Sequence[TaggedSentence]", dev)
            return [tags_and_label(*sentences) if any(s.label for s in sentences[0]) else most_frequent_tag(*sentences)]
        case "classification":
            if isinstance(train[0], LabelledSignal):
                signals = cast("Sequence[LabelledSignal]", train), cast("Sequence[LabelledSignal]", dev)
                return [majority_label(*signals), linear_on_summaries(*signals)]
            texts = cast("Sequence[LabelledText]", train), cast("Sequence[LabelledText]", dev)
            return [majority_label(*texts), linear_classifier(*texts, _outside(options))]
        case "translation":
            pairs = cast("Sequence[SentencePair]", train), cast("Sequence[SentencePair]", dev)
            return [copied_source(pairs[1]), word_by_word(*pairs)]
        case "captioning":
            pictures = cast("Sequence[CaptionedPicture]", train), cast("Sequence[CaptionedPicture]", dev)
            return [most_frequent_caption(*pictures), nearest_picture(*pictures)]
        case "forecasting":
            assert isinstance(options, ForecastingOptions)
            return forecasting_baselines(one_series(train), one_series(dev), options)
        case "generation":
            return ngram_models(cast("Sequence[Passage]", train), cast("Sequence[Passage]", dev), encode)


def _outside(options: TaskOptions | None) -> str:
    return (options if isinstance(options, ClassificationOptions) else ClassificationOptions()).outside_label
