"""A few dev forecasts as lines of text, beside the actual values."""

from __future__ import annotations

import numpy as np

from service.bundle.load import Bundle
from service.bundle.task_options import ForecastingOptions
from service.tasks.core.task import Frames, Runner
from service.tasks.single_pass.forecasting import Forecasting, ForecastingParameters
from training.data.records import Series
from training.preprocessing.windows import Windows

_NUM_SAMPLES = 3
_NUM_STEPS = 6


def forecast_samples(bundle: Bundle, options: ForecastingOptions, runner: Runner, series: Series) -> tuple[str, ...]:
    """The first target at a few steps of the horizon, from windows spread evenly."""
    task = Forecasting(bundle)
    windows = Windows(series, options.look_back, options.horizon)
    starts = np.unique(np.linspace(0, len(windows) - 1, _NUM_SAMPLES).astype(np.int64))
    examples = [task.preprocess(Frames(past), ForecastingParameters()) for past in windows.past(starts)]
    steps = np.unique(np.linspace(0, options.horizon - 1, _NUM_STEPS).astype(np.int64))
    lines = []
    for output, future in zip(task.run(runner, examples), windows.future(starts), strict=True):
        pairs = (f"+{step + 1}: {output.forecast[step, 0]:.4g} ({future[step, 0]:.4g})" for step in steps)
        lines.append(f"{options.targets[0]} forecast (came) " + "  ".join(pairs))
    return tuple(lines)
