"""Video: a clip in; a short description, an action and a prediction of the next action out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import numpy as np

from service.bundle.manifest import Manifest
from service.bundle.task_options import TaskOptions, VideoOptions
from service.tasks.core.task import Clip
from service.tasks.inputs.png import Pixels
from training.data.records import CaptionedClip
from training.evaluation.analysis.clip_attention import draw_clip_attention
from training.evaluation.analysis.errors import caption_errors
from training.evaluation.analysis.findings import AttentionPicture, Findings
from training.evaluation.analysis.interval import Interval, bootstrap, ratio
from training.evaluation.answers import REFUSED, Job, Scores, answers
from training.evaluation.baselines.result import BaselineResult, Encode
from training.evaluation.baselines.video import most_frequent, nearest_frame, what_follows
from training.evaluation.caption_scores import caption_scores
from training.evaluation.predictions import Prediction, forget
from training.evaluation.scoring import accuracy
from training.evaluation.task import CardTexts, EvaluationTask, options_as
from training.evaluation.tasks.card_texts import listed, output_limit

#: Part of a clip from which the next action is a prediction.
_HALF = 0.5


def _limits(manifest: Manifest) -> list[str]:
    options = options_as(manifest.options, VideoOptions)
    return [
        f"- A clip is a GIF or animated PNG file, or a list of PNG files. Of more than {options.max_frames} frames so "
        f"many are read, evenly spread in time. Each is put on white and brought to {options.image_columns} x "
        f"{options.image_rows} pixels, whatever its proportions.",
        output_limit(manifest),
        f"- It knows these actions: {listed(manifest.labels)}.",
    ]


class VideoEvaluation(EvaluationTask[CaptionedClip]):
    """Scores captions against one reference each, and both actions, from the whole clip and from its first half.

    `action_one_frame` and `action_shuffled` are of the middle frame alone and of all frames in a random order: what a
    network gets that does not use time. They are no aims, and are left out while epochs are compared.
    """

    name = "video"
    card = CardTexts(
        purpose=lambda _manifest: "Describes a short clip, names what is done in it, and predicts what comes next.",
        intended_use=(
            "Short clips like those it was trained on. It always says something, also of a film, which it was not made "
            "for: look at the scores. Sent the beginning of a clip alone, its next action is a prediction."
        ),
        limits=_limits,
    )
    reported = (
        "token_f1",
        "exact",
        "bleu1",
        "bleu4",
        "action",
        "next",
        "action_from_half",
        "next_from_half",
        "action_one_frame",
        "action_shuffled",
    )
    dev_measures = ("token_f1", "exact", "action", "next", "action_from_half", "next_from_half")
    deciding = ("token_f1",)
    int8_graphs = ("decoder_step",)
    # Greedy search, for the same reasons as in translation.
    quick_parameters: ClassVar = {"num_beams": 1}
    analysis_parameters: ClassVar = {"return_attention": True}

    def score(self, job: Job, records: Sequence[CaptionedClip]) -> Scores:
        found = answers(job, [record.value for record in records])
        captions = [REFUSED if answer is None else answer.text for answer in found]
        for record, answer, text in zip(records, found, captions, strict=True):
            label = REFUSED if answer is None else answer.action.label
            job.keep(Prediction(record, label=label, text=text, attention=answer and answer.attention))
        scores = caption_scores([record.caption for record in records], captions)
        whole = _action_scores(records, found)
        half = _action_scores(records, told_of(job, records, first_part), "_from_half")
        others = {
            name: _action_scores(records, told_of(job, records, change))["action"]
            for name, change in (("action_one_frame", middle_frame), ("action_shuffled", shuffled))
        }
        return {**scores, **whole, **half, **others, "refused": found.count(None)}

    def baselines(
        self,
        train: Sequence[CaptionedClip],
        dev: Sequence[CaptionedClip],
        encode: Encode | None = None,
        options: TaskOptions | None = None,
    ) -> list[BaselineResult]:
        """The most frequent answers, those of the nearest clip, and what follows each action most often."""
        return [most_frequent(train, dev), nearest_frame(train, dev), what_follows(train, dev)]

    def interval(self, measure: str, predictions: Sequence[Prediction[CaptionedClip]]) -> Interval | None:
        if not predictions or measure not in ("exact", "token_f1", "action"):
            return None
        return bootstrap([(_share(measure, prediction), 1.0) for prediction in predictions], ratio)

    def analyse(self, predictions: Sequence[Prediction[CaptionedClip]]) -> Findings | None:
        if not predictions:
            return None
        cases = caption_errors((p.record.group, p.record.caption, p.text) for p in predictions)
        pictures = [
            AttentionPicture(p.record.caption, partial(draw_clip_attention, p.record.frames, p.attention))
            for p in predictions
            if p.attention is not None
        ]
        confusions = [(p.record.action, p.label) for p in predictions]
        return Findings(len(predictions), cases, confusions, attention=pictures)


def first_part(frames: Pixels, share: float = _HALF) -> Pixels:
    """The frames of a clip up to this share of it, at least one."""
    return frames[: max(1, round(share * len(frames)))]


def middle_frame(frames: Pixels) -> Pixels:
    """The middle frame alone."""
    middle = len(frames) // 2
    return frames[middle : middle + 1]


def shuffled(frames: Pixels) -> Pixels:
    """The frames in a random order, the same for equally many of them."""
    mixed: Pixels = frames[np.random.default_rng(len(frames)).permutation(len(frames))]
    return mixed


def told_of(job: Job, records: Sequence[CaptionedClip], change: Callable[[Pixels], Pixels]) -> list[Any]:
    """The answers to changed clips, for their actions alone: of the caption one token is written."""
    quick = {"num_beams": 1, "max_new_tokens": 1, "return_score": False, "return_attention": False}
    asked = replace(job, parameters={**job.parameters, **quick}, advance=lambda _percent: None, keep=forget)
    return answers(asked, [Clip(frames=change(record.frames)) for record in records])


def _action_scores(records: Sequence[CaptionedClip], found: Sequence[Any], suffix: str = "") -> dict[str, float]:
    actions = [REFUSED if answer is None else answer.action.label for answer in found]
    following = [REFUSED if answer is None else answer.next_action.label for answer in found]
    return {
        f"action{suffix}": accuracy([record.action for record in records], actions),
        f"next{suffix}": accuracy([record.next_action for record in records], following),
    }


def _share(measure: str, prediction: Prediction[CaptionedClip]) -> float:
    """The measure of one clip, 0 to 1."""
    if measure == "action":
        return float(prediction.label == prediction.record.action)
    return caption_scores([prediction.record.caption], [prediction.text])[measure] / 100
