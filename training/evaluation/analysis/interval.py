"""Confidence intervals of scores, 95 %: how far a score on these records may be from one on many more of their kind."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Interval = tuple[float, float]

#: The number of standard deviations, and the tails of the bootstrap, that leave 95 %.
_DEVIATIONS: Final = 1.959964
_TAILS: Final = (2.5, 97.5)
_RESAMPLES: Final = 1000
#: Resamples drawn at once, so that memory stays small.
_AT_ONCE: Final = 100


def wilson(num_right: int, count: int) -> Interval:
    """The interval of a share in percent, by Wilson (1927): sound for few records and for shares near 0 or 100."""
    if count == 0:
        return 0.0, 100.0
    share, z2 = num_right / count, _DEVIATIONS**2
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = _DEVIATIONS * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2)) / (1 + z2 / count)
    return max(0.0, 100 * (middle - half)), min(100.0, 100 * (middle + half))


def bootstrap(
    parts: Sequence[Sequence[float]], measure: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> Interval:
    """The percentile interval (Efron 1979) of a measure of sums, from records drawn with replacement, always alike.

    Args:
        parts: `[records, numbers]`: what each record adds to the sums.
        measure: `[resamples, numbers]` of sums to `[resamples]`.
    """
    rows = np.asarray(parts, dtype=np.float64)
    generator = np.random.default_rng(0)
    found = []
    for _ in range(_RESAMPLES // _AT_ONCE):
        times = generator.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=_AT_ONCE)
        found.append(measure(times @ rows))
    low, high = np.percentile(np.concatenate(found), _TAILS)
    return float(low), float(high)


def ratio(sums: NDArray[Any]) -> NDArray[Any]:
    """`[resamples, 2]` sums of a part and of the whole to percentages; 0 of nothing is 0."""
    part, whole = sums[:, 0], sums[:, 1]
    return np.asarray(100.0 * np.divide(part, whole, out=np.zeros_like(part), where=whole > 0))


def in_words(interval: Interval) -> str:
    """Such as `95 %: 44.1 to 53.4`."""
    return f"95 %: {interval[0]:.1f} to {interval[1]:.1f}"
