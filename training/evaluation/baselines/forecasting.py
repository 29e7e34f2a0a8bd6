"""Forecasting baselines: the last value, the value one period ago, and a linear model of the past."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from service.bundle.task_options import ForecastingOptions
from training.data.records import Series
from training.evaluation.baselines.result import BaselineResult
from training.evaluation.forecast_scores import ForecastErrors, batches_of
from training.preprocessing.windows import Windows

_WINDOWS_AT_ONCE = 256
_WINDOWS_FOR_QUANTILES = 2000
#: Relative to the mean square of an input: makes the equations solvable without a visible effect on scores.
_RIDGE = 1e-3

Values = NDArray[np.float64]
#: `[windows, look_back, targets]` -> `[windows, horizon, targets]`.
Forecast = Callable[[Values], Values]


def forecasting_baselines(train: Series, dev: Series, options: ForecastingOptions) -> list[BaselineResult]:
    """From the crudest to the strongest; each forecasts a channel from that channel alone."""
    horizon, period = options.horizon, options.period
    results = [_score("last value", dev, options, lambda past: np.repeat(past[:, -1:], horizon, axis=1))]
    if 0 < period <= options.look_back:
        steps = np.arange(horizon) % period - period
        results.append(_score(f"value of {period} steps before", dev, options, lambda past: past[:, steps]))
    linear = linear_forecast(train, options)
    offsets = usual_errors(train, options, linear) if options.quantiles else None
    results.append(_score("linear (NLinear, least squares)", dev, options, linear, offsets))
    return results


def linear_forecast(train: Series, options: ForecastingOptions) -> Forecast:
    """NLinear (Zeng et al. 2023) by least squares: one matrix for all targets, on differences to the last value.

    In standard deviations of train, so that targets weigh alike.
    """
    scale = np.asarray(options.deviations)
    windows = Windows(train, options.look_back, options.horizon)
    size = options.look_back + 1
    gram, cross = np.zeros((size, size)), np.zeros((size, options.horizon))
    for starts in batches_of(len(windows), _WINDOWS_AT_ONCE):
        past = _targets_of(windows.past(starts), options)
        inputs = _inputs(past, scale)
        wanted = ((windows.future(starts) - past[:, -1:]) / scale).transpose(0, 2, 1).reshape(-1, options.horizon)
        whole = np.isfinite(wanted).all(axis=1)
        gram += inputs[whole].T @ inputs[whole]
        cross += inputs[whole].T @ wanted[whole]
    gram[np.diag_indices(size)] += _RIDGE * np.trace(gram) / size + np.finfo(np.float64).tiny
    weights = np.linalg.solve(gram, cross)

    def forecast(past: Values) -> Values:
        steps = (_inputs(past, scale) @ weights).reshape(len(past), past.shape[2], options.horizon)
        return np.asarray(past[:, -1:] + steps.transpose(0, 2, 1) * scale)

    return forecast


def usual_errors(train: Series, options: ForecastingOptions, forecast: Forecast) -> Values:
    """`[horizon, targets, quantiles]`: quantiles of the errors in train at each step, to add to a forecast."""
    windows = Windows(train, options.look_back, options.horizon)
    starts = np.arange(0, len(windows), max(1, len(windows) // _WINDOWS_FOR_QUANTILES))
    wrong = windows.future(starts) - forecast(_targets_of(windows.past(starts), options))
    return np.asarray(np.moveaxis(np.nanquantile(wrong, options.quantiles, axis=0), 0, -1))


def _inputs(past: Values, scale: Values) -> Values:
    """`[windows * targets, look_back + 1]`: differences to the last value, and a one for the constant."""
    differences = ((past - past[:, -1:]) / scale).transpose(0, 2, 1).reshape(-1, past.shape[1])
    return np.concatenate([differences, np.ones((len(differences), 1))], axis=1)


def _targets_of(past: NDArray[np.float32], options: ForecastingOptions) -> Values:
    index = [options.channels.index(target) for target in options.targets]
    return past[:, :, index].astype(np.float64)


def _score(
    name: str, dev: Series, options: ForecastingOptions, forecast: Forecast, offsets: Values | None = None
) -> BaselineResult:
    windows = Windows(dev, options.look_back, options.horizon)
    errors = ForecastErrors(options.deviations, () if offsets is None else options.quantiles)
    for starts in batches_of(len(windows), _WINDOWS_AT_ONCE):
        found = forecast(_targets_of(windows.past(starts), options))
        errors.add(found, windows.future(starts), None if offsets is None else found[..., None] + offsets)
    return BaselineResult(name, errors.measures())
