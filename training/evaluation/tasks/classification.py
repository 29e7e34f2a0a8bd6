"""Classification of texts: one label for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from service.bundle.task_options import ClassificationOptions, TaskOptions
from service.tasks.core.task import PredictInput
from training.data.records import LabelledSignal, LabelledText
from training.evaluation.analysis.findings import Findings, label_findings
from training.evaluation.analysis.interval import Interval, wilson
from training.evaluation.answers import REFUSED, Job, Scores, answers, shortened, unknown_labels
from training.evaluation.baselines.classification import linear_classifier, majority_label
from training.evaluation.baselines.result import BaselineResult, Encode
from training.evaluation.out_of_scope import sentence
from training.evaluation.predictions import Prediction
from training.evaluation.scoring import classification_scores
from training.evaluation.task import CardTexts, EvaluationTask, options_as
from training.evaluation.tasks.card_texts import input_limit

LabelledT = TypeVar("LabelledT", LabelledText, LabelledSignal)


class ClassificationEvaluation(EvaluationTask[LabelledText]):
    """Scores labels, and how well texts are kept out that fit none of them."""

    name = "classification"
    card = CardTexts(
        purpose=lambda manifest: f"Gives a whole text one of {len(manifest.labels)} labels.",
        intended_use=(
            "Short texts like those it was trained on. It always answers with one of its labels, also for a text that "
            "none of them fits: look at the score before acting on the answer."
        ),
        limits=input_limit,
    )
    reported = ("accuracy", "accuracy_in_scope", "recall_oos", "recall_oos_at_95", "f1")
    dev_measures = ("accuracy", "f1")
    deciding = ("accuracy",)
    int8_graphs = ("classifier",)

    def score(self, job: Job, records: Sequence[LabelledText]) -> Scores:
        """Texts longer than the input limit are cut at the end."""
        texts, num_cut = shortened(job.bundle, job.bundle.tokenizers["text"], [record.text for record in records])
        return label_scores(job, records, texts, num_cut)

    def baselines(
        self,
        train: Sequence[LabelledText],
        dev: Sequence[LabelledText],
        encode: Encode | None = None,
        options: TaskOptions | None = None,
    ) -> list[BaselineResult]:
        """The most frequent label, and a linear classifier of words."""
        known = options_as(options or ClassificationOptions(), ClassificationOptions)
        return [majority_label(train, dev), linear_classifier(train, dev, known.outside_label)]

    def interval(self, measure: str, predictions: Sequence[Prediction[LabelledText]]) -> Interval | None:
        return label_interval(measure, predictions)

    def analyse(self, predictions: Sequence[Prediction[LabelledText]]) -> Findings | None:
        return label_findings([(p.record.text, p.record.label, p.label) for p in predictions])


def label_interval(
    measure: str, predictions: Sequence[Prediction[LabelledText]] | Sequence[Prediction[LabelledSignal]]
) -> Interval | None:
    """The interval of the share of right labels."""
    if measure != "accuracy" or not predictions:
        return None
    return wilson(sum(p.record.label == p.label for p in predictions), len(predictions))


def label_scores(job: Job, records: Sequence[LabelledT], values: Sequence[PredictInput], num_cut: int) -> Scores:
    """Measures of the labels that the model gives to `values`, the inputs of `records`."""
    found = answers(job, values)
    gold = [record.label for record in records]
    predicted = [REFUSED if answer is None else answer.label for answer in found]
    confidences = [0.0 if answer is None else answer.score for answer in found]
    for record, label in zip(records, predicted, strict=True):
        job.keep(Prediction(record, label=label))
    outside = options_as(job.bundle.manifest.options, ClassificationOptions).outside_label
    scores: Scores = {**classification_scores(gold, predicted, confidences, outside)}
    if "threshold_at_95" in scores:
        done = sentence(scores["threshold_at_95"], scores["taken_in_scope_at_95"], outside)
        scores["recall_oos_at_95_signature"] = done
    return {
        **scores,
        "truncated": num_cut,
        "refused": found.count(None),
        **unknown_labels(job.bundle, gold),
    }
