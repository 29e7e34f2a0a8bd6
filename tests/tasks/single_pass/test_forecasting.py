"""Forecasting: the input window, validation and the contents of the answer."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from pydantic import ValidationError

from service.bundle.manifest import Limits
from service.bundle.task_options import ForecastingOptions
from service.errors import InferenceFailed, InvalidInput
from service.tasks.core.task import Array, Frames, PredictInput
from service.tasks.single_pass.forecasting import Forecasting, ForecastingParameters, plain_rows
from tests.tasks.builders import FunctionRunner, bundle

OPTIONS = ForecastingOptions(
    channels=("load", "heat", "wind"), targets=("wind", "load"), deviations=(1.0, 2.0), look_back=4, horizon=2
)
WITH_QUANTILES = OPTIONS.model_copy(update={"quantiles": (0.1, 0.5, 0.9)})


def task_of(options: ForecastingOptions = OPTIONS) -> Forecasting:
    return Forecasting(bundle(options, {}, limits=Limits(max_input_tokens=10)))


def frames(num_frames: int, num_channels: int = 3, first: float = 0.0) -> Frames:
    numbers = first + np.arange(num_frames * num_channels, dtype=np.float32)
    return Frames(numbers.reshape(num_frames, num_channels))


def echo(feeds: Mapping[str, Array]) -> dict[str, Array]:
    """A graph that returns the last two frames, wind before load."""
    return {"forecast": feeds["frames"][:, -2:][:, :, [2, 0]]}


def refusal_of(value: PredictInput) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        task_of().preprocess(value, ForecastingParameters())
    return caught.value


def test_of_more_frames_the_last_ones_count() -> None:
    """Of more frames than the model's window only the last ones are used."""
    example = task_of().preprocess(frames(9), ForecastingParameters())
    assert np.array_equal(example.frames, frames(9).values[-4:])
    assert example.length == 4


def test_fewer_frames_are_refused_with_the_number_needed() -> None:
    error = refusal_of(frames(3))
    assert error.field == ("frames",)
    assert "there are 3 frames, this model needs the last 4" in str(error)


def test_more_frames_than_the_limit_are_refused() -> None:
    assert "11 frames, this model takes at most 10" in str(refusal_of(frames(11)))


def test_another_width_is_refused_with_the_names_of_the_channels() -> None:
    error = refusal_of(frames(4, num_channels=2))
    assert error.field == ("frames", 0)
    assert "has 2 numbers, this model takes 3: load, heat, wind" in str(error)


def times_after(times: list[str], step: str = "", num_frames: int = 5) -> list[str]:
    task = task_of(OPTIONS.model_copy(update={"step": step}))
    given = Frames(frames(num_frames).values, tuple(times))
    example = task.preprocess(given, ForecastingParameters())
    answer = task.postprocess(example, task.run(FunctionRunner(forecaster=echo), [example])[0])
    return answer.times or []


def test_a_forecast_has_times_if_its_frames_had() -> None:
    """The step is the model's, else that of the times; the last time is enough where the model knows its step."""
    assert times_after([]) == []
    assert times_after(["2024-01-31 22:00", "2024-01-31 23:00"]) == ["2024-02-01T00:00:00", "2024-02-01T01:00:00"]
    assert times_after(["20240131"], "1d") == ["2024-02-01", "2024-02-02"]
    assert times_after(["2024-01-12"], "workday") == ["2024-01-15", "2024-01-16"]
    assert times_after(["2024-11"], "1mo") == ["2024-12", "2025-01"]
    assert times_after(["7", "8"], "1") == ["9", "10"]
    assert times_after(["1706695200"], "1h") == ["1706698800", "1706702400"]


@pytest.mark.parametrize(
    ("times", "step", "field", "what"),
    [
        (["2024-01-01"] * 6, "1d", ("times",), "6 times for 5 frames"),
        (["2024-01-01"], "", ("times",), "give those of two frames or more"),
        (["2024-01-01", "soon"], "1d", ("times", 1), "'soon' is not a time"),
        (["2024-01-02", "2024-01-01"], "1d", ("times", 1), "2024-01-01 does not come after 2024-01-02"),
        (
            ["2024-01-01", "2024-01-02"],
            "1h",
            ("times",),
            "the step of the times is 1d, this model was trained on steps of 1h",
        ),
        (["01/02/2024", "02/02/2024"], "1d", ("times",), "day-first or month-first"),
        (["7"], "1h", ("times",), "the times are numbers, this model was trained on dates"),
        (["9999-12-31"], "1d", ("times",), "out of the range of the calendar"),
    ],
)
def test_times_that_do_not_fit_are_refused(
    times: list[str], step: str, field: tuple[str | int, ...], what: str
) -> None:
    with pytest.raises(InvalidInput, match=what) as caught:
        times_after(times, step)
    assert caught.value.field == field


@pytest.mark.parametrize("value", ["the wind rises", ["the", "wind"]])
def test_text_is_refused(value: str | list[str]) -> None:
    assert "this model takes frames of numbers, not" in str(refusal_of(value))


def test_each_row_of_a_batch_gets_its_own_forecast() -> None:
    """Each row of a batch of three windows gets the same forecast as alone."""
    task, runner = task_of(), FunctionRunner(forecaster=echo)
    examples = [task.preprocess(frames(4, first=10.0 * n), ForecastingParameters()) for n in range(3)]
    together = [task.plain_answer(e, o) for e, o in zip(examples, task.run(runner, examples), strict=True)]
    alone = [task.plain_answer(e, task.run(runner, [e])[0]) for e in examples]
    assert together == alone
    assert together[1] == {"forecast": [[18.0, 16.0], [21.0, 19.0]], "channels": ["wind", "load"]}


def test_quantiles_are_named_by_their_level() -> None:
    """Quantiles are keyed by level with the forecast's shape, and both encoders give the same JSON."""
    quantiles = np.arange(12, dtype=np.float32).reshape(1, 2, 2, 3)
    runner = FunctionRunner(forecaster=lambda feeds: {"forecast": quantiles[..., 1], "quantiles": quantiles})
    task = task_of(WITH_QUANTILES)
    example = task.preprocess(frames(4), ForecastingParameters())
    (output,) = task.run(runner, [example])
    plain = task.plain_answer(example, output)
    assert plain["quantiles"] == {
        "0.1": [[0.0, 3.0], [6.0, 9.0]],
        "0.5": [[1.0, 4.0], [7.0, 10.0]],
        "0.9": [[2.0, 5.0], [8.0, 11.0]],
    }
    assert plain["forecast"] == plain["quantiles"]["0.5"]
    assert task.postprocess(example, output).model_dump(mode="json") == plain


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_a_forecast_that_is_no_number_fails_alone(number: float) -> None:
    """A forecast that is not finite fails its own row only."""
    forecast = np.zeros((2, 2, 2), dtype=np.float32)
    forecast[1, 0, 1] = number
    task = task_of()
    examples = [task.preprocess(frames(4), ForecastingParameters())] * 2
    good, bad = task.run(FunctionRunner(forecaster=lambda feeds: {"forecast": forecast}), examples)
    assert task.plain_answer(examples[0], good)["forecast"] == [[0.0, 0.0], [0.0, 0.0]]
    with pytest.raises(InferenceFailed, match="not finite"):
        task.plain_answer(examples[1], bad)


def test_numbers_are_as_short_as_their_precision() -> None:
    """Numbers have the shortest decimals that read back as the same float32."""
    numbers = np.array([[20.9, -1e-20, 3e20]], dtype=np.float32)
    assert plain_rows(numbers) == [[20.9, -1e-20, 3e20]]
    assert np.array_equal(np.array(plain_rows(numbers), dtype=np.float32), numbers)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"targets": ("rain",)}, "every target must be a channel"),
        ({"channels": ("load", "wind", "load")}, "distinct"),
        ({"deviations": (1.0,)}, "deviation above 0"),
        ({"deviations": (1.0, 0.0)}, "deviation above 0"),
        ({"quantiles": (0.1, 0.9)}, "0.5 is among them"),
        ({"quantiles": (0.5, 0.1)}, "rise between 0 and 1"),
        ({"quantiles": (0.5, 1.0)}, "rise between 0 and 1"),
    ],
)
def test_options_that_contradict_themselves_are_refused(change: dict[str, object], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        ForecastingOptions.model_validate(OPTIONS.model_dump() | change)
