"""Captioning: a picture in, a short description out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

from service.bundle.manifest import Manifest
from service.bundle.task_options import CaptioningOptions, TaskOptions
from training.data.records import CaptionedPicture
from training.evaluation.analysis.errors import caption_errors
from training.evaluation.analysis.findings import AttentionPicture, Findings
from training.evaluation.analysis.interval import Interval, bootstrap, ratio
from training.evaluation.analysis.picture_attention import draw_picture_attention
from training.evaluation.answers import REFUSED, Job, Scores, answers
from training.evaluation.baselines.captioning import most_frequent_caption, nearest_picture
from training.evaluation.baselines.result import BaselineResult, Encode
from training.evaluation.caption_scores import caption_scores
from training.evaluation.predictions import Prediction
from training.evaluation.task import CardTexts, EvaluationTask, options_as
from training.evaluation.tasks.card_texts import output_limit


def _limits(manifest: Manifest) -> list[str]:
    options = options_as(manifest.options, CaptioningOptions)
    return [
        f"- A picture is a PNG file. It is put on white and brought to {options.image_columns} x "
        f"{options.image_rows} pixels, whatever its proportions: what is finer than that is not seen.",
        output_limit(manifest),
    ]


class CaptioningEvaluation(EvaluationTask[CaptionedPicture]):
    """Scores captions against one reference each."""

    name = "captioning"
    card = CardTexts(
        purpose=lambda _manifest: "Describes a picture in a few words.",
        intended_use=(
            "Small pictures like those it was trained on, one thing on a plain ground. It always says something, also "
            "of a photograph or a pattern, which it was not made for: look at the score."
        ),
        limits=_limits,
    )
    reported = ("token_f1", "exact", "bleu1", "bleu4")
    dev_measures = ("token_f1", "exact", "bleu1", "bleu4")
    deciding = ("token_f1",)
    int8_graphs = ("decoder_step",)
    # Greedy search, for the same reasons as in translation.
    quick_parameters: ClassVar = {"num_beams": 1}
    analysis_parameters: ClassVar = {"return_attention": True}

    def score(self, job: Job, records: Sequence[CaptionedPicture]) -> Scores:
        found = answers(job, [record.value for record in records])
        captions = [REFUSED if answer is None else answer.text for answer in found]
        for record, answer, text in zip(records, found, captions, strict=True):
            job.keep(Prediction(record, text=text, attention=answer and answer.attention))
        scores = caption_scores([record.caption for record in records], captions)
        return {**scores, "refused": found.count(None)}

    def baselines(
        self,
        train: Sequence[CaptionedPicture],
        dev: Sequence[CaptionedPicture],
        encode: Encode | None = None,
        options: TaskOptions | None = None,
    ) -> list[BaselineResult]:
        """The most frequent caption, and that of the nearest picture."""
        return [most_frequent_caption(train, dev), nearest_picture(train, dev)]

    def interval(self, measure: str, predictions: Sequence[Prediction[CaptionedPicture]]) -> Interval | None:
        if not predictions or measure not in ("exact", "token_f1"):
            return None
        alone = [caption_scores([p.record.caption], [p.text])[measure] / 100 for p in predictions]
        return bootstrap([(share, 1.0) for share in alone], ratio)

    def analyse(self, predictions: Sequence[Prediction[CaptionedPicture]]) -> Findings | None:
        if not predictions:
            return None
        cases = caption_errors((_drawn_by(p.record), p.record.caption, p.text) for p in predictions)
        pictures = [
            AttentionPicture(p.record.caption, partial(draw_picture_attention, p.record.png, p.attention))
            for p in predictions
            if p.attention is not None
        ]
        return Findings(len(predictions), cases, attention=pictures)


def _drawn_by(record: CaptionedPicture) -> str:
    return f"drawn by {record.group}" if record.group else ""
