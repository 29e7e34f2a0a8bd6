"""Video: an encoder reads the frames of a clip, a decoder describes it, and two classifiers tell what is done in it.

The action and the next one are told from the frames that were sent: of the beginning of a clip alone, the next action
is a prediction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from service.bundle.load import Bundle
from service.bundle.padding import IntArray
from service.bundle.task_options import VideoOptions
from service.errors import InvalidInput, UnrollError
from service.tasks.core.probabilities import require_finite, softmax
from service.tasks.core.task import Answer, AnswerStatistics, Array, Clip, InputStatistics, PredictInput, kind_of
from service.tasks.inputs.clips.clip_file import ReadClip, read_clip_file, read_pictures, resized_frames
from service.tasks.inputs.clips.facts import evenly
from service.tasks.inputs.png import PictureSize, require_pillow
from service.tasks.seq2seq.hypotheses import Hypothesis, SearchOptions
from service.tasks.seq2seq.seq2seq import Seq2Seq, Seq2SeqAnswer, Seq2SeqParameters

_ACTION, _NEXT = "action_logits", "next_logits"


class VideoParameters(Seq2SeqParameters):
    """Parameters of beam search. Defaults are in the model's manifest; `max_new_tokens` is the model's limit."""

    return_moments: bool = Field(
        default=False, description="also return how probable each action is after each frame that was read"
    )


class ScoredAction(Answer):
    """An action, and the probability that the model gives it."""

    label: str
    score: float


class ClipAttention(Answer):
    """`weights[i][j]`: attention to each place of frame j when token i was chosen; those of a token sum to 1.

    A frame is divided into `rows` x `columns` places of equal size, counted row by row from the upper left.
    """

    tokens: list[str]
    rows: int
    columns: int
    weights: list[list[list[float]]]


class Moments(Answer):
    """The probability of each action after each frame that was read, in the order of the model's labels."""

    labels: list[str]
    action: list[list[float]]
    next_action: list[list[float]]


class VideoAnswer(Seq2SeqAnswer):
    """The best caption found, the action and the one that comes next.

    `score` is left out if `return_score` is false; `attention` and `moments` are there only on request.
    """

    action: ScoredAction
    next_action: ScoredAction = Field(description="of the beginning of a clip alone, this is a prediction")
    num_frames: int = Field(description="frames of the clip")
    frames: list[int] = Field(description="numbers of those that were read, from 0; one that stays is there repeatedly")
    attention: ClipAttention | None = Field(default=None, exclude_if=lambda attention: attention is None)
    moments: Moments | None = Field(default=None, exclude_if=lambda moments: moments is None)


@dataclass(frozen=True, eq=False)
class VideoExample:
    """The frames of one clip that are read, the places for attention in all of them, and the search options."""

    clip: ReadClip
    length: int
    plan: SearchOptions
    wants_moments: bool = False

    @property
    def num_rows(self) -> int:
        return self.plan.num_beams


class Video(Seq2Seq[VideoExample]):
    """Describes a short clip, names what is done in it, and predicts what comes next."""

    parameters_type = VideoParameters
    answer_type = VideoAnswer
    told_outputs: ClassVar = (_ACTION, _NEXT)

    def __init__(self, bundle: Bundle) -> None:
        manifest = bundle.manifest
        if not isinstance(manifest.options, VideoOptions):
            raise TypeError(f"{manifest.name} is a bundle for {manifest.task}, not for video")
        super().__init__(bundle, manifest.options)
        require_pillow()
        self._options, self._labels = manifest.options, manifest.labels
        self._size = PictureSize(manifest.options.image_rows, manifest.options.image_columns)
        self._num_places = manifest.options.grid_rows * manifest.options.grid_columns

    def preprocess(self, value: PredictInput, parameters: VideoParameters) -> VideoExample:
        """Decode a clip, take frames evenly, and resize them to the input size of the model."""
        if not isinstance(value, Clip):
            forms = '{"clip": "..."}, a GIF or animated PNG file, or as {"pictures": ["...", ...]}, PNG files'
            raise InvalidInput(f"this model takes a clip as {forms}, not {kind_of(value)}")
        plan = self.plan(parameters, self._limits.max_new_tokens)
        clip = self._read(value)
        return VideoExample(clip, len(clip.frames) * self._num_places, plan, parameters.return_moments)

    def _read(self, value: Clip) -> ReadClip:
        most = self._options.max_frames
        if value.frames is not None:
            numbers = evenly(len(value.frames), most)
            return ReadClip(resized_frames(value.frames[list(numbers)], self._size), numbers, len(value.frames))
        try:
            if value.key == "pictures":
                return read_pictures(value.files, most, self._size)
            return read_clip_file(value.files[0], most, self._size)
        except InvalidInput as error:
            raise error.under(value.key) from error

    def encoder_feeds(self, examples: Sequence[VideoExample]) -> tuple[dict[str, Array], IntArray]:
        """Frames of all clips, padded with black ones to the longest, and their numbers."""
        lengths = np.array([len(example.clip.frames) for example in examples], dtype=np.int64)
        frames = np.zeros((len(examples), lengths.max(), *self._size, 3), dtype=np.uint8)
        for row, example in enumerate(examples):
            frames[row, : lengths[row]] = example.clip.frames
        return {"frames": frames, "lengths": lengths}, lengths

    def postprocess(self, example: VideoExample, output: Hypothesis | UnrollError) -> VideoAnswer:
        return VideoAnswer.model_validate(self.plain_answer(example, output))

    def plain_answer(self, example: VideoExample, output: Hypothesis | UnrollError) -> dict[str, Any]:
        """The answer as JSON values. Raises the error that ended the search, if one did; InferenceFailed."""
        answer = super().plain_answer(example, output)
        assert isinstance(output, Hypothesis), "the base class raises an error"
        action, following = (softmax(require_finite(output.told[name], "actions")) for name in self.told_outputs)
        answer |= {"action": self._best(action[-1]), "next_action": self._best(following[-1])}
        answer |= {"num_frames": example.clip.num_frames, "frames": list(example.clip.numbers)}
        if example.wants_moments:
            moments = {"action": action.tolist(), "next_action": following.tolist()}
            answer["moments"] = {"labels": list(self._labels), **moments}
        return answer

    def _best(self, probabilities: Array) -> dict[str, Any]:
        best = int(probabilities.argmax())
        return {"label": self._labels[best], "score": float(probabilities[best])}

    def answer_statistics(self, plain_answer: dict[str, Any]) -> AnswerStatistics:
        """The action and the next one are the labels; the confidence is that of the caption."""
        labels = plain_answer["action"]["label"], plain_answer["next_action"]["label"]
        return AnswerStatistics(labels, super().answer_statistics(plain_answer).confidence)

    def input_statistics(self, example: VideoExample) -> InputStatistics:
        """Places of all frames count as tokens, all of them known."""
        return InputStatistics(example.length, 0)

    def attention(self, example: VideoExample, hypothesis: Hypothesis) -> dict[str, Any]:
        return {
            "tokens": self.target_tokens(hypothesis),
            "rows": self._options.grid_rows,
            "columns": self._options.grid_columns,
            "weights": hypothesis.attention.tolist(),
        }
