"""Resampling of audio, for training and serving: linear-phase polyphase filters in numpy.

Each new sample is a weighted sum of the old ones around its position, with a Kaiser-windowed sinc as weights (Smith
2002). Frequencies above half of the lower rate are removed, so that there is no aliasing.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from service.bundle.padding import FloatArray
from service.errors import InvalidInput

LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 4_000, 192_000
#: Zero crossings of the sinc on each side, the share of the band that is kept, and beta: 80 dB stop-band attenuation.
_CROSSINGS, _ROLLOFF, _KAISER_BETA = 24, 0.94, 8.0
#: Rates without a large common divisor need a filter for each position between two samples: these many weights.
_MAX_WEIGHTS = 1 << 18


def resampled(samples: FloatArray, from_hz: int, to_hz: int) -> FloatArray:
    """`samples` resampled from `from_hz` to `to_hz`; unchanged if the rates are equal.

    Raises:
        InvalidInput: the rate is out of range.
    """
    if from_hz == to_hz:
        return samples
    up, down = _proportion(from_hz, to_hz)
    weights = _filters(up, down)
    width = weights.shape[1]
    num_new = -(-len(samples) * up // down)
    before = width // 2 - 1
    windows = sliding_window_view(np.pad(samples, (before, width)), width)
    new = np.empty(num_new, dtype=np.float32)
    for phase in range(min(up, num_new)):
        # Every `up`-th new sample has the same position between two old ones, and so the same filter.
        places = new[phase::up]
        first, between = divmod(phase * down, up)
        places[:] = windows[first::down][: len(places)] @ weights[between]
    return new


def _proportion(from_hz: int, to_hz: int) -> tuple[int, int]:
    if not LOWEST_RATE_HZ <= from_hz <= HIGHEST_RATE_HZ:
        raise InvalidInput(
            f"the sample rate is {from_hz} Hz; sound of {LOWEST_RATE_HZ} to {HIGHEST_RATE_HZ} Hz can be brought to "
            f"{to_hz} Hz"
        )
    up, down = Fraction(to_hz, from_hz).as_integer_ratio()
    if up * _width(up, down) > _MAX_WEIGHTS:
        # The nearest simple ratio: off by 75 millionths at most, as the clocks of sound cards are.
        simple = Fraction(to_hz, from_hz).limit_denominator(_most_phases(up / down))
        up, down = simple.as_integer_ratio()
    return up, down


def _most_phases(ratio: float) -> int:
    """Largest denominator of a ratio whose filters stay within the limit."""
    phases = _MAX_WEIGHTS / (2 * math.ceil(_CROSSINGS * max(1.0, 1 / ratio) / _ROLLOFF))
    return int(phases / max(1.0, ratio)) if ratio > 1 else int(phases / ratio)


def _width(up: int, down: int) -> int:
    """Taps of a filter: even, so that the position of a new sample is between the two taps in the middle."""
    return 2 * math.ceil(_CROSSINGS * max(1.0, down / up) / _ROLLOFF)


@lru_cache(maxsize=16)
def _filters(up: int, down: int) -> FloatArray:
    """`[up, width]`: the weights for a position `phase / up` after an old sample. Each row sums to 1."""
    width = _width(up, down)
    cutoff = _ROLLOFF * min(1.0, up / down)
    offsets = np.arange(width) - (width // 2 - 1) - np.arange(up)[:, None] / up
    window = np.i0(_KAISER_BETA * np.sqrt(np.maximum(0.0, 1.0 - (2 * offsets / width) ** 2)))
    weights = np.sinc(cutoff * offsets) * window
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float32)
