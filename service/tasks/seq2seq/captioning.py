"""Captioning: a convolutional encoder reads a picture once, a decoder with attention describes it step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field

from service.bundle.load import Bundle
from service.bundle.padding import IntArray
from service.bundle.task_options import CaptioningOptions
from service.errors import InvalidInput, UnrollError
from service.tasks.core.task import Answer, Array, InputStatistics, Picture, PredictInput, kind_of
from service.tasks.inputs.png import PictureSize, Pixels, read_png, require_pillow
from service.tasks.seq2seq.hypotheses import Hypothesis, SearchOptions
from service.tasks.seq2seq.seq2seq import Seq2Seq, Seq2SeqAnswer, Seq2SeqParameters


class CaptioningParameters(Seq2SeqParameters):
    """Parameters of beam search. Defaults are in the model's manifest; `max_new_tokens` is the model's limit."""


class PictureAttention(Answer):
    """`weights[i]`: attention to each place of the picture when token i was chosen; each row sums to 1.

    The picture is divided into `rows` x `columns` places of equal size, counted row by row from the upper left.
    """

    tokens: list[str]
    rows: int
    columns: int
    weights: list[list[float]]


class CaptioningAnswer(Seq2SeqAnswer):
    """The best caption found; `score` unless `return_score` is false, `attention` only on request."""

    attention: PictureAttention | None = Field(default=None, exclude_if=lambda attention: attention is None)


@dataclass(frozen=True, eq=False)
class CaptioningExample:
    """The pixels of one picture, the number of places for attention, and the search options."""

    pixels: Pixels
    length: int
    plan: SearchOptions

    @property
    def num_rows(self) -> int:
        return self.plan.num_beams


class Captioning(Seq2Seq[CaptioningExample]):
    """Describes a picture."""

    parameters_type = CaptioningParameters
    answer_type = CaptioningAnswer

    def __init__(self, bundle: Bundle) -> None:
        manifest = bundle.manifest
        if not isinstance(manifest.options, CaptioningOptions):
            raise TypeError(f"{manifest.name} is a bundle for {manifest.task}, not for captioning")
        super().__init__(bundle, manifest.options)
        require_pillow()
        self._options = manifest.options
        self._size = PictureSize(manifest.options.image_rows, manifest.options.image_columns)

    def preprocess(self, value: PredictInput, parameters: CaptioningParameters) -> CaptioningExample:
        """Decode a picture and resize it to the input size of the model."""
        if not isinstance(value, Picture):
            raise InvalidInput(f'this model takes a picture as {{"png": "..."}}, not {kind_of(value)}')
        plan = self.plan(parameters, self._limits.max_new_tokens)
        try:
            pixels = read_png(value.png, self._size)
        except InvalidInput as error:
            raise error.under("png") from error
        return CaptioningExample(pixels, self._options.grid_rows * self._options.grid_columns, plan)

    def encoder_feeds(self, examples: Sequence[CaptioningExample]) -> tuple[dict[str, Array], IntArray]:
        lengths = np.array([example.length for example in examples], dtype=np.int64)
        return {"pixels": np.stack([example.pixels for example in examples])}, lengths

    def postprocess(self, example: CaptioningExample, output: Hypothesis | UnrollError) -> CaptioningAnswer:
        return CaptioningAnswer.model_validate(self.plain_answer(example, output))

    def input_statistics(self, example: CaptioningExample) -> InputStatistics:
        """Places of the picture count as tokens, all of them known."""
        return InputStatistics(example.length, 0)

    def attention(self, example: CaptioningExample, hypothesis: Hypothesis) -> dict[str, Any]:
        return {
            "tokens": self.target_tokens(hypothesis),
            "rows": self._options.grid_rows,
            "columns": self._options.grid_columns,
            "weights": hypothesis.attention.tolist(),
        }
