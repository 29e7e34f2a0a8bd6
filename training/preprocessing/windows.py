"""Sliding windows over a series: `look_back` rows of the past and `horizon` rows of the future, at every row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from service.errors import UnrollError
from training.config.networks import ForecasterConfig
from training.data.records import Record, Series

FloatArray = NDArray[np.float32]


class Windows:
    """Windows by the number of their first row. Gaps in the past are filled with the last known value.

    Requests cannot contain gaps either. Gaps in the future stay NaN and do not count.
    """

    def __init__(self, series: Series, look_back: int, horizon: int) -> None:
        """Raises UnrollError when the series is shorter than one window."""
        index = [series.channels.index(name) for name in series.targets]
        first = max(0, len(series.values) - series.num_new - look_back)
        values = series.values[first:]
        if len(values) < look_back + horizon:
            raise UnrollError(
                f"a series of {len(values):,} rows is too short: looking back {look_back} and forecasting {horizon} "
                f"needs at least {look_back + horizon}; make network.look_back or network.horizon smaller"
            )
        self.look_back, self.horizon = look_back, horizon
        self._past = filled(series.values)[first:].astype(np.float32)
        self._future = values[:, index].astype(np.float32)
        self._past_steps, self._future_steps = np.arange(look_back), look_back + np.arange(horizon)

    def __len__(self) -> int:
        return len(self._past) - self.look_back - self.horizon + 1

    def past(self, starts: NDArray[np.int64]) -> FloatArray:
        """`[windows, look_back, channels]`."""
        return np.asarray(self._past[starts[:, None] + self._past_steps])

    def future(self, starts: NDArray[np.int64]) -> FloatArray:
        """`[windows, horizon, targets]`."""
        return np.asarray(self._future[starts[:, None] + self._future_steps])


def filled(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gaps in `[time, channels]` filled with the last value before them, at the beginning with the first value."""
    known = np.isfinite(values)
    rows = np.arange(len(values))[:, None]
    last = np.maximum.accumulate(np.where(known, rows, -1), axis=0)
    source = np.where(last < 0, known.argmax(axis=0), last)
    return np.nan_to_num(np.take_along_axis(values, source, axis=0), nan=0.0)


def example_frames(series: Series, config: ForecasterConfig, count: int) -> list[dict[str, list[list[float]]]]:
    """Request inputs: windows spread evenly over the series."""
    num_windows = len(Windows(series, config.look_back, config.horizon))
    first = len(series.values) - num_windows - config.look_back - config.horizon + 1
    starts = first + np.linspace(0, num_windows - 1, count).astype(np.int64)
    values = filled(series.values)
    return [{"frames": values[start : start + config.look_back].tolist()} for start in np.unique(starts)]


def continued(train: Series, dev: Series) -> Series:
    """`dev` with the rows of `train` before it as its past."""
    times = (*train.times, *dev.times) if train.times and dev.times else ()
    return dev._replace(values=np.concatenate([train.values, dev.values]), times=times)


def one_series(records: Sequence[Record]) -> Series:
    """The only record, a series. Raises UnrollError for any other number of records."""
    if len(records) != 1 or not isinstance(records[0], Series):
        raise UnrollError(f"one series is needed, there are {len(records)} records")
    return records[0]
