"""Forecast errors over every window of a series, in standard deviations of train as in the literature."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.bundle.load import Bundle
from service.bundle.task_options import ForecastingOptions
from service.tasks.core.task import Array, Frames, Runner
from service.tasks.single_pass.forecasting import Forecasting, ForecastingParameters
from training.data.records import Series
from training.preprocessing.windows import Windows


@dataclass
class ForecastErrors:
    """Accumulates errors batch by batch. Missing values do not count."""

    deviations: Sequence[float]
    quantiles: Sequence[float] = ()
    num_values: int = 0
    squared: float = 0.0
    absolute: float = 0.0
    absolute_in_units: float = 0.0
    pinball: float = 0.0
    num_inside: int = 0
    _scale: Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._scale = np.asarray(self.deviations, dtype=np.float64)

    def add(self, forecast: Array, future: Array, quantiles: Array | None = None) -> None:
        """Both are `[windows, horizon, targets]` in the units of the data; quantiles have one more dimension."""
        wrong = future.astype(np.float64) - forecast
        known = np.isfinite(future)
        scaled = (wrong / self._scale)[known]
        self.num_values += scaled.size
        self.squared += float(np.square(scaled).sum())
        self.absolute += float(np.abs(scaled).sum())
        self.absolute_in_units += float(np.abs(wrong[known]).sum())
        if quantiles is not None:
            self._add_quantiles(future, quantiles, known)

    def _add_quantiles(self, future: Array, quantiles: Array, known: NDArray[np.bool_]) -> None:
        levels = np.asarray(self.quantiles)
        below = ((future[..., None] - quantiles) / self._scale[:, None])[known]
        self.pinball += float(np.maximum(levels * below, (levels - 1) * below).mean(axis=1).sum())
        inside = (future >= quantiles[..., 0]) & (future <= quantiles[..., -1])
        self.num_inside += int(inside[known].sum())

    def measures(self) -> dict[str, float]:
        """`mse` and `mae` in deviations; for a single target `mae_in_units`; with quantiles `pinball` and `coverage`.

        `coverage` is the percentage of values between the lowest and the highest quantile.
        """
        total = max(1, self.num_values)
        found = {"mse": self.squared / total, "mae": self.absolute / total}
        if len(self.deviations) == 1:
            found["mae_in_units"] = self.absolute_in_units / total
        if self.quantiles:
            found |= {"pinball": self.pinball / total, "coverage": 100.0 * self.num_inside / total}
        return found


def forecast_scores(
    bundle: Bundle,
    options: ForecastingOptions,
    runner: Runner,
    series: Series,
    batch_size: int,
    advance: Callable[[int], None],
) -> dict[str, Any]:
    """Errors of the bundle on every window of the series."""
    task = Forecasting(bundle)
    windows = Windows(series, options.look_back, options.horizon)
    errors = ForecastErrors(options.deviations, options.quantiles)
    for starts in batches_of(len(windows), batch_size):
        examples = [task.preprocess(Frames(past), ForecastingParameters()) for past in windows.past(starts)]
        outputs = task.run(runner, examples)
        quantiles = [output.quantiles for output in outputs if output.quantiles is not None]
        forecast = np.stack([output.forecast for output in outputs])
        errors.add(forecast, windows.future(starts), np.stack(quantiles) if quantiles else None)
        advance(100 * int(starts[-1] + 1) // len(windows))
    scores: dict[str, Any] = {**errors.measures(), "windows": len(windows), "values": errors.num_values}
    if options.quantiles:
        low, high = options.quantiles[0], options.quantiles[-1]
        scores["pinball_signature"] = f"{scores['coverage']:.1f} % of what came lay between {low:g} and {high:g}"
    return scores


def batches_of(num_windows: int, batch_size: int) -> Iterator[NDArray[np.int64]]:
    """Indices of the windows in order, `batch_size` at a time."""
    for start in range(0, num_windows, batch_size):
        yield np.arange(start, min(start + batch_size, num_windows))
