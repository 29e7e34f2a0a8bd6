"""Scale of a series: names, means and standard deviations of its channels in train."""

from __future__ import annotations

import json
from typing import NamedTuple

import numpy as np

from service.errors import UnrollError
from training.data.readers.series import step_of_series
from training.data.records import Series

#: A smaller deviation, relative to the mean, is rounding noise.
_STILL = 1e-9


class SeriesScale(NamedTuple):
    """Mean and standard deviation of each channel over the known values of train, and the step between its rows."""

    channels: tuple[str, ...]
    targets: tuple[str, ...]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    #: As `TimeStep` spells it; "" if the series has no times, or no regular step.
    step: str = ""

    @classmethod
    def of_json(cls, text: bytes) -> SeriesScale:
        """The inverse of `to_json`, exact to the bit."""
        found = json.loads(text)
        step = found.pop("step", "")
        return cls(**{name: tuple(values) for name, values in found.items()}, step=step)

    def to_json(self) -> str:
        """One line, as stored in a run folder."""
        return json.dumps(self._asdict()) + "\n"

    @property
    def target_index(self) -> list[int]:
        """Positions of the targets among the channels."""
        return [self.channels.index(name) for name in self.targets]

    @property
    def target_deviations(self) -> tuple[float, ...]:
        return tuple(self.deviation[index] for index in self.target_index)


def fit_scale(series: Series) -> SeriesScale:
    """Fit on train. Raises UnrollError for a channel without values or a target that never changes."""
    known = np.isfinite(series.values)
    empty = [name for name, column in zip(series.channels, known.T, strict=True) if not column.any()]
    if empty:
        raise UnrollError(f"train holds no number in {', '.join(empty)}; leave it out of the channels")
    mean = np.nanmean(series.values, axis=0)
    deviation = np.nanstd(series.values, axis=0)
    still = [bool(d <= _STILL * max(1.0, abs(m))) for m, d in zip(mean, deviation, strict=True)]
    dull = [name for name, is_still in zip(series.channels, still, strict=True) if is_still and name in series.targets]
    if dull:
        raise UnrollError(f"{', '.join(dull)} never changes in train: there is nothing to forecast")
    deviation[still] = 1.0
    step = str(step_of_series(series) or "")
    return SeriesScale(series.channels, series.targets, tuple(mean.tolist()), tuple(deviation.tolist()), step)
