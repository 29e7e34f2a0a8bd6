"""Forecasting: the next steps of a time series from its last frames, in the units of the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from pydantic import Field

from service.bundle.load import Bundle
from service.bundle.padding import FloatArray
from service.bundle.task_options import ForecastingOptions
from service.errors import InferenceFailed, InvalidInput
from service.tasks.core.predict_task import PredictTask
from service.tasks.core.task import (
    Answer,
    AnswerStatistics,
    Array,
    Frames,
    InputStatistics,
    Parameters,
    PredictInput,
    Runner,
    kind_of,
    require_at_most,
    require_computable,
)
from service.tasks.single_pass.future_times import future_times

Rows = list[list[float]]

_FRAMES = ("frames",)


class ForecastingParameters(Parameters):
    """A forecaster has no parameters."""


class ForecastingAnswer(Answer):
    """The steps that follow the last frame: a list for each step, with a number for each of `channels`."""

    forecast: Rows
    channels: list[str] = Field(description="the names of the numbers of a step")
    times: list[str] | None = Field(
        default=None,
        exclude_if=lambda times: times is None,
        description="of the steps, if the frames had times: ISO 8601, or numbers if those were numbers",
    )
    quantiles: dict[str, Rows] | None = Field(
        default=None,
        exclude_if=lambda quantiles: quantiles is None,
        description="if the model forecasts them: the truth is below the numbers of 0.9 nine times out of ten",
    )


@dataclass(frozen=True, eq=False)
class ForecastingExample:
    """The window that a forecast is made from: float32 `[look_back, channels]`, and the times of its steps."""

    frames: FloatArray
    times: tuple[str, ...] = ()

    @property
    def length(self) -> int:
        return len(self.frames)


class ForecastingOutput(NamedTuple):
    """`[horizon, targets]`, and `[horizon, targets, quantiles]` if the graph has them."""

    forecast: Array
    quantiles: Array | None


class Forecasting(PredictTask[ForecastingExample, ForecastingOutput]):
    """Forecasts frames. Of more frames than `look_back`, only the last ones are used."""

    parameters_type = ForecastingParameters
    answer_type = ForecastingAnswer

    def __init__(self, bundle: Bundle) -> None:
        options = bundle.manifest.options
        assert isinstance(options, ForecastingOptions)
        self._options = options
        self._max_frames = bundle.manifest.limits.max_input_tokens
        self._channels = list(options.targets)

    def preprocess(self, value: PredictInput, parameters: ForecastingParameters) -> ForecastingExample:
        """Validate the width and the number of the frames, and keep the last ones."""
        del parameters  # part of the protocol; there are none
        if not isinstance(value, Frames):
            raise InvalidInput(f"this model takes frames of numbers, not {kind_of(value)}")
        look_back, names = self._options.look_back, self._options.channels
        num_frames, width = value.values.shape
        require_at_most(num_frames, self._max_frames, "frames", _FRAMES)
        if width != len(names):
            has = f"a frame has {width} {'number' if width == 1 else 'numbers'}"
            raise InvalidInput(f"{has}, this model takes {len(names)}: {', '.join(names)}", (*_FRAMES, 0))
        if num_frames < look_back:
            raise InvalidInput(f"there are {num_frames} frames, this model needs the last {look_back}", _FRAMES)
        require_computable(value.values)
        return ForecastingExample(value.values[-look_back:], self._times(value))

    def _times(self, value: Frames) -> tuple[str, ...]:
        if not value.times:
            return ()
        return future_times(value.times, len(value.values), self._options.step, self._options.horizon)

    def run(self, runner: Runner, examples: Sequence[ForecastingExample]) -> list[ForecastingOutput]:
        outputs = runner.run("forecaster", {"frames": np.stack([example.frames for example in examples])})
        quantiles = outputs.get("quantiles")
        return [
            ForecastingOutput(forecast, None if quantiles is None else quantiles[row])
            for row, forecast in enumerate(outputs["forecast"])
        ]

    def plain_answer(self, example: ForecastingExample, output: ForecastingOutput) -> dict[str, Any]:
        """The answer of `postprocess` as JSON values.

        Raises:
            InferenceFailed: a number is not finite.
        """
        parts = [output.forecast] if output.quantiles is None else [output.forecast, output.quantiles]
        if not all(np.isfinite(part).all() for part in parts):
            raise InferenceFailed("the model computed a forecast that is not finite")
        answer: dict[str, Any] = {"forecast": plain_rows(output.forecast), "channels": self._channels}
        if example.times:
            answer["times"] = list(example.times)
        if output.quantiles is not None:
            names = map(str, self._options.quantiles)
            answer["quantiles"] = {name: plain_rows(output.quantiles[..., i]) for i, name in enumerate(names)}
        return answer

    def postprocess(self, example: ForecastingExample, output: ForecastingOutput) -> ForecastingAnswer:
        return ForecastingAnswer.model_validate(self.plain_answer(example, output))

    def input_statistics(self, example: ForecastingExample) -> InputStatistics:
        return InputStatistics(example.length, 0)

    def answer_statistics(self, plain_answer: dict[str, Any]) -> AnswerStatistics:
        """A forecast has neither labels nor a confidence."""
        del plain_answer
        return AnswerStatistics((), None)


def plain_rows(numbers: Array) -> Rows:
    """`[steps, channels]` as lists of the shortest numbers that are equal in float32: 20.9, not 20.899999618530273."""
    return [[float(str(number)) for number in row] for row in numbers]
