"""Tagging: a tag for each word, and with a joint model a label for the whole text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

from service.bundle.task_options import TaggingOptions, TaskOptions
from service.tasks.single_pass.spans import bio_spans
from training.config.networks import TaggerConfig
from training.config.recipe import Recipe
from training.data.readers.schemes import span_scheme
from training.data.records import Record, TaggedSentence
from training.evaluation.analysis.confusion import label_pairs
from training.evaluation.analysis.errors import span_errors, tag_errors
from training.evaluation.analysis.findings import Findings
from training.evaluation.analysis.interval import Interval, bootstrap, ratio, wilson
from training.evaluation.answers import REFUSED, Job, Scores, answers, unknown_labels
from training.evaluation.baselines.result import BaselineResult, Encode
from training.evaluation.baselines.tagging import most_frequent_tag, tags_and_label
from training.evaluation.predictions import Prediction
from training.evaluation.scoring import accuracy, joint_scores, span_scores
from training.evaluation.task import CardTexts, EvaluationTask, options_as
from training.evaluation.tasks.card_texts import input_limit
from training.preprocessing.load_records import RunData


class TaggingEvaluation(EvaluationTask[TaggedSentence]):
    """Scores tags by word, by span where the tags are spans, and by sentence where texts have labels too."""

    name = "tagging"
    card = CardTexts(
        purpose=lambda manifest: f"Gives every word of a sentence one of {len(manifest.labels)} tags.",
        intended_use=(
            "Sentences like those it was trained on. Text of another domain or another time will be tagged worse."
        ),
        limits=input_limit,
    )
    reported = ("f1", "precision", "recall", "accuracy", "label_accuracy", "sentence_accuracy")
    dev_measures = ("sentence_accuracy", "f1", "accuracy", "label_accuracy")
    deciding = ("sentence_accuracy", "f1", "accuracy")
    int8_graphs = ("tagger",)

    def prepare(self, recipe: Recipe, data: RunData) -> RunData:
        """Without labels of whole texts, where the network is to tag words alone."""
        if recipe.network_as(TaggerConfig).joint:
            return data
        return replace(data, train=_without_text_labels(data.train), dev=_without_text_labels(data.dev))

    def score(self, job: Job, records: Sequence[TaggedSentence]) -> Scores:
        """Sentences longer than the input limit are cut into windows, so that every word gets a tag."""
        limit = job.bundle.manifest.limits.max_input_tokens
        windows = [
            (row, record.words[start : start + limit])
            for row, record in enumerate(records)
            for start in range(0, len(record.words), limit)
        ]
        found = answers(job, [words for _, words in windows])
        predicted: list[list[str]] = [[] for _ in records]
        for (row, words), answer in zip(windows, found, strict=True):
            predicted[row] += [REFUSED] * len(words) if answer is None else [token.tag for token in answer.tokens]
        # The label of a text is that of its first window: the last one entered stays.
        of_text = {row: answer for (row, _), answer in zip(windows[::-1], found[::-1], strict=True)}
        labels = [_text_label(of_text[row]) for row in range(len(records))]
        for record, tags, label in zip(records, predicted, labels, strict=True):
            job.keep(Prediction(record, tags=tags, label=label))
        gold = [tag for record in records for tag in record.tags]
        return {
            **_measures(job, records, predicted, labels),
            "tokens": len(gold),
            "windowed": sum(len(record.words) > limit for record in records),
            "refused": found.count(None),
            **unknown_labels(job.bundle, gold),
        }

    def baselines(
        self,
        train: Sequence[TaggedSentence],
        dev: Sequence[TaggedSentence],
        encode: Encode | None = None,
        options: TaskOptions | None = None,
    ) -> list[BaselineResult]:
        """The most frequent tag of each word; where texts have labels, a linear classifier for those."""
        has_labels = any(sentence.label for sentence in train)
        return [tags_and_label(train, dev) if has_labels else most_frequent_tag(train, dev)]

    def interval(self, measure: str, predictions: Sequence[Prediction[TaggedSentence]]) -> Interval | None:
        return tag_interval(measure, predictions)

    def analyse(self, predictions: Sequence[Prediction[TaggedSentence]]) -> Findings | None:
        """By span where the tags are spans, whose labels are then compared without B- and I-."""
        if not predictions:
            return None
        is_spans = span_scheme(p.record.tags for p in predictions) is not None
        find = span_errors if is_spans else tag_errors
        cases = [case for p in predictions for case in find(p.record.words, p.record.tags, p.tags)]
        pairs = label_pairs([p.record.tags for p in predictions], [p.tags for p in predictions])
        if is_spans:
            pairs = [(_kind_of(gold), _kind_of(predicted)) for gold, predicted in pairs]
        return Findings(len(predictions), cases, pairs)


def tag_interval(measure: str, predictions: Sequence[Prediction[TaggedSentence]]) -> Interval | None:
    """The interval of a share of words or spans, by sentence, whose words depend on each other; or of sentences."""
    if not predictions:
        return None
    if measure in ("label_accuracy", "sentence_accuracy"):
        labelled = [p for p in predictions if p.record.label]
        is_whole = measure == "sentence_accuracy"
        right = (p.label == p.record.label and (not is_whole or tuple(p.tags) == p.record.tags) for p in labelled)
        return wilson(sum(right), len(labelled))
    if measure == "accuracy":
        pairs = [list(zip(p.record.tags, p.tags, strict=True)) for p in predictions]
        return bootstrap([(sum(a == b for a, b in each), len(each)) for each in pairs], ratio)
    if measure not in ("f1", "precision", "recall"):
        return None
    spans = [(set(bio_spans(p.record.tags)), set(bio_spans(p.tags))) for p in predictions]
    if measure == "f1":
        return bootstrap([(2 * len(gold & found), len(gold) + len(found)) for gold, found in spans], ratio)
    return bootstrap([(len(a & b), len(b if measure == "precision" else a)) for a, b in spans], ratio)


def _without_text_labels(records: Sequence[Record]) -> list[Record]:
    return [record._replace(label="") for record in cast("Sequence[TaggedSentence]", records)]


def _measures(
    job: Job, records: Sequence[TaggedSentence], predicted: Sequence[Sequence[str]], labels: Sequence[str]
) -> Scores:
    gold = [record.tags for record in records]
    flat = [[tag for tags in side for tag in tags] for side in (gold, predicted)]
    scores: Scores = {"accuracy": accuracy(*flat)}
    if options_as(job.bundle.manifest.options, TaggingOptions).scheme == "bio":
        scores.update(span_scores(gold, predicted)._asdict())
    if job.bundle.manifest.text_labels and any(record.label for record in records):
        scores.update(joint_scores(records, predicted, labels))
    return scores


def _text_label(answer: Any) -> str:
    """The label of the whole text; empty for a tagger of words alone, and where the text was refused."""
    return REFUSED if answer is None else answer.label or REFUSED


def _kind_of(tag: str) -> str:
    return tag.partition("-")[2] or tag
