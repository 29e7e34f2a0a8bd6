"""Forecasting baselines on series whose future is computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from service.bundle.task_options import ForecastingOptions
from tests.training.tiny_series import CHANNELS, options, series, wave
from training.data.records import Series
from training.evaluation.baselines.forecasting import linear_forecast
from training.evaluation.forecast_scores import ForecastErrors
from training.evaluation.tasks.catalogue import EVALUATION_TASKS


def one_channel(values: list[float], **changes: object) -> tuple[Series, ForecastingOptions]:
    made = Series(("load",), ("load",), np.array(values, dtype=np.float64)[:, None], (), len(values))
    found = {"channels": ("load",), "targets": ("load",), "deviations": (2.0,), "look_back": 3, "horizon": 2}
    return made, ForecastingOptions.model_validate(found | changes)


def test_the_last_value_of_a_slope_is_wrong_by_the_slope() -> None:
    """On a slope of 1 per step the error is 1 after one step and 2 after two, squared and divided by the variance."""
    slope, known = one_channel([float(n) for n in range(12)])
    last = EVALUATION_TASKS["forecasting"].baselines([slope], [slope], options=known)[0]
    assert last.name == "last value"
    assert last.measures == pytest.approx({"mse": (1 + 4) / 2 / 4, "mae": 1.5 / 2, "mae_in_units": 1.5})


def test_a_wave_repeats_itself_after_a_period() -> None:
    """The value one period earlier is exact, also beyond one period of horizon; without a period it is left out."""
    whole = series(60)._replace(targets=("load",))
    known = options(horizon=9).model_copy(update={"targets": ("load",), "deviations": (12.0,)})
    names = [result.name for result in EVALUATION_TASKS["forecasting"].baselines([whole], [whole], options=known)]
    assert names == ["last value", "value of 6 steps before", "linear (NLinear, least squares)"]
    seasonal = EVALUATION_TASKS["forecasting"].baselines([whole], [whole], options=known)[1]
    assert seasonal.measures["mse"] == pytest.approx(0, abs=1e-9)
    unknown = known.model_copy(update={"period": 0})
    assert len(EVALUATION_TASKS["forecasting"].baselines([whole], [whole], options=unknown)) == 2


def test_a_linear_map_learns_what_is_linear() -> None:
    """Waves and slopes are linear in their past, so the error on unseen rows is nearly zero."""
    train = series(60)
    dev = train._replace(values=wave(60, first=200))
    measures = EVALUATION_TASKS["forecasting"].baselines([train], [dev], options=all_targets())[-1].measures
    assert measures["mse"] < 1e-3


def test_windows_with_a_gap_in_their_future_teach_nothing() -> None:
    """Gaps in train change the linear map only slightly and never produce NaN."""
    train = series(60)
    train.values[30, 0] = np.nan
    forecast = linear_forecast(train, all_targets())
    past = wave(12)[None]
    assert np.abs(forecast(past) - wave(5, first=12)[None]).max() < 1.0


def test_the_linear_map_has_quantiles_from_its_errors_in_train() -> None:
    """On pure noise 80 % of the values lie between the quantiles 0.1 and 0.9, at less than half the absolute error."""
    noise = np.random.default_rng(0).normal(size=2000).tolist()
    train, known = one_channel(noise[:1500], quantiles=(0.1, 0.5, 0.9))
    dev, _ = one_channel(noise[1500:])
    measures = EVALUATION_TASKS["forecasting"].baselines([train], [dev], options=known)[-1].measures
    assert measures["coverage"] == pytest.approx(80, abs=5)
    assert 0 < measures["pinball"] < measures["mae"] / 2


def test_errors_add_up_over_batches() -> None:
    """Two batches give the same error as one; gaps are excluded from numerator and denominator."""
    random = np.random.default_rng(0)
    forecast, future = random.normal(size=(2, 6, 5, 2))
    future[2, 3, 1] = np.nan
    quantiles = np.stack([forecast - 0.5, forecast, forecast + 0.5], axis=3)
    whole, parts = (ForecastErrors((1.0, 2.0), (0.1, 0.5, 0.9)) for _ in range(2))
    whole.add(forecast, future, quantiles)
    for rows in (slice(0, 4), slice(4, 6)):
        parts.add(forecast[rows], future[rows], quantiles[rows])
    assert parts.measures() == pytest.approx(whole.measures())
    known = np.isfinite(future)
    assert whole.num_values == 59
    assert whole.measures()["mse"] == pytest.approx(np.mean((((future - forecast) / [1.0, 2.0]) ** 2)[known]))
    assert whole.measures()["coverage"] == pytest.approx(100 * np.mean((np.abs(future - forecast) <= 0.5)[known]))


def all_targets() -> ForecastingOptions:
    return options().model_copy(update={"targets": CHANNELS, "deviations": (12.0, 5.0, 8.0)})
