"""Resampling of audio, for training and serving: linear-phase polyphase filters in numpy.

Each new sample is a weighted sum of the old ones around its position, with a Kaiser-windowed sinc as weights (Smith
2002). Frequencies above half of the lower rate are removed, so that there is no aliasing.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache

import numpy as np

from service.bundle.padding import FloatArray
from service.errors import InvalidInput

LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 4_000, 192_000
#: Zero crossings of the sinc on each side, the share of the band that is kept, and beta: 80 dB stop-band attenuation.
_CROSSINGS, _ROLLOFF, _KAISER_BETA = 24, 0.94, 8.0
#: Rates without a large common divisor need a filter for each position between two samples: these many weights.
_MAX_WEIGHTS = 1 << 18
#: With more filters than these, each new sample looks its own up; so many new samples are computed at once.
_FEW_PHASES, _BLOCK = 8, 2048


def resampled(samples: FloatArray, from_hz: int, to_hz: int) -> FloatArray:
    """`samples` resampled from `from_hz` to `to_hz`; unchanged if the rates are equal.

    Raises:
        InvalidInput: the rate is out of range.
    """
    if from_hz == to_hz:
        return samples
    resampling = Resampling(from_hz, to_hz)
    return resampling.between(samples, 0, 0, resampling.num_new(len(samples)))


class Resampling:
    """From one rate to another, for a whole sound or for any piece of it: the same numbers, bit for bit.

    New sample k is computed from the old samples `first_old(k)` to `first_old(k) + width - 1`; those before the start
    and after the end of the sound are zero.
    """

    def __init__(self, from_hz: int, to_hz: int) -> None:
        """Raises InvalidInput if the rate is out of range."""
        self._up, self._down = _proportion(from_hz, to_hz)
        self._weights = _filters(self._up, self._down)
        self._width = int(self._weights.shape[1])

    def num_new(self, num_old: int) -> int:
        """New samples of a sound of so many old ones."""
        return -(-num_old * self._up // self._down)

    def num_ready(self, num_old: int) -> int:
        """New samples that depend on the first `num_old` old ones only, whatever follows."""
        return self.num_new(max(0, num_old - self._width // 2))

    def first_old(self, number: int) -> int:
        """The first old sample that a new one depends on; negative near the start."""
        return number * self._down // self._up - (self._width // 2 - 1)

    def between(self, old: FloatArray, offset: int, start: int, end: int) -> FloatArray:
        """The new samples `start` to `end`, of which `old` has all that they depend on, from old sample `offset` on."""
        if end <= start:
            return np.empty(0, dtype=np.float32)
        before = max(0, offset - self.first_old(start))
        after = max(0, self.first_old(end - 1) + self._width - offset - len(old))
        if before or after or not old.flags.c_contiguous:
            old = np.concatenate([np.zeros(before, np.float32), old, np.zeros(after, np.float32)])
        if self._up <= _FEW_PHASES:
            return self._by_phase(old, offset - before, start, end)
        blocks = [(first, min(first + _BLOCK, end)) for first in range(start, end, _BLOCK)]
        return np.concatenate([self._by_sample(old, offset - before, *block) for block in blocks])

    # Both forms leave the order of the sum to einsum: it is the same for every row, while a product of matrices may
    # add in another order at the end of a block.

    def _by_phase(self, old: FloatArray, offset: int, start: int, end: int) -> FloatArray:
        """Every `up`-th new sample has the same position between two old ones, and so the same filter."""
        new = np.empty(end - start, dtype=np.float32)
        for first in range(start, min(start + self._up, end)):
            places = new[first - start :: self._up]
            windows = _windows(old, self.first_old(first) - offset, self._down, len(places), self._width)
            np.einsum("kw,w->k", windows, self._weights[first * self._down % self._up], out=places)
        return new

    def _by_sample(self, old: FloatArray, offset: int, start: int, end: int) -> FloatArray:
        positions = np.arange(start, end, dtype=np.int64) * self._down
        windows = _windows(old, 0, 1, len(old) - self._width + 1, self._width)
        used = windows[positions // self._up - (self._width // 2 - 1) - offset]
        return np.asarray(np.einsum("kw,kw->k", used, self._weights[positions % self._up]))


def _windows(old: FloatArray, first: int, distance: int, count: int, width: int) -> FloatArray:
    """`[count, width]`: a view of the samples from `first` on, from `first + distance` on, and so on."""
    size = old.itemsize
    return np.ndarray((count, width), np.float32, old, first * size, (distance * size, size))


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
