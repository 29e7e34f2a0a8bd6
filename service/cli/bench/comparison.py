"""Ratio of two servers with its 95 % confidence interval, from interleaved rounds or from a recorded run."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

#: 97.5 % quantiles of Student's t distribution for 1, 2, ... degrees of freedom; then that of the normal one.
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)
_NORMAL = 1.96


@dataclass(frozen=True)
class Ratio:
    """How many times the first the second is; without several rounds there is no interval."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def is_significant(self) -> bool:
        """Whether the interval excludes 1."""
        return self.low is not None and self.high is not None and not self.low <= 1.0 <= self.high

    def shown(self) -> str:
        interval = "" if self.low is None or self.high is None else f" ({self.low:.3f} to {self.high:.3f})"
        return f"{self.value:.3f}{interval}"


def paired_ratio(first: Sequence[float], second: Sequence[float]) -> Ratio | None:
    """Geometric mean of the ratios of each round, with the interval of Student's t over their logarithms.

    Load that others put on the machine for longer than a round falls on both servers and cancels out. None without
    rounds in which both are positive.
    """
    logs = [math.log(b / a) for a, b in zip(first, second, strict=True) if a > 0 and b > 0]
    if not logs:
        return None
    mean = statistics.fmean(logs)
    if len(logs) < 2:
        return Ratio(math.exp(mean))
    return _with_interval(mean, statistics.stdev(logs) / math.sqrt(len(logs)), len(logs) - 1)


def unpaired_ratio(first: Sequence[float], second: Sequence[float]) -> Ratio | None:
    """The same for runs at different times (Welch's interval), which drift of the machine does not leave alone."""
    logs = [[math.log(value) for value in values if value > 0] for values in (first, second)]
    if not all(logs):
        return None
    mean = statistics.fmean(logs[1]) - statistics.fmean(logs[0])
    if min(map(len, logs)) < 2:
        return Ratio(math.exp(mean))
    errors = [statistics.variance(values) / len(values) for values in logs]
    total = sum(errors)
    parts = sum(error**2 / (len(values) - 1) for error, values in zip(errors, logs, strict=True))
    return _with_interval(mean, math.sqrt(total), max(1, int(total**2 / parts)) if parts else len(logs[0]))


def _with_interval(mean: float, error: float, freedom: int) -> Ratio:
    half = error * (_T[freedom - 1] if freedom <= len(_T) else _NORMAL)
    return Ratio(math.exp(mean), math.exp(mean - half), math.exp(mean + half))
