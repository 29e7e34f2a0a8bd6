"""Arrays as JSON values: float32 as decimals of few digits that are read back as the same float32."""

from __future__ import annotations

from typing import Any

import numpy as np

from service.bundle.padding import Array

#: Significant digits that are tried one after the other; nine tell all numbers of float32 apart.
_DIGITS = (7, 8, 9)
#: So many numbers are written one by one in the time that a pass over an array takes.
_FEW = 16
#: Powers of ten beyond this are not exact in float64.
_LARGEST_SCALE = 1e22


def plain_numbers(array: Array) -> Any:
    """Nested lists, or a number: 20.9 for the float32 that is 20.899999618530273. Floats must be finite."""
    if array.dtype != np.float32:
        return array.tolist()
    if array.size <= _FEW:
        return np.array([float(str(number)) for number in array.reshape(-1)]).reshape(array.shape).tolist()
    return _shortened(array).tolist()


def _shortened(array: Array) -> Array:
    """float64 of which each rounds to its float32, with as few digits as are tried; as they are if none fit."""
    exact = array.astype(np.float64)
    short = exact.copy()
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        scale = 10.0 ** (_DIGITS[0] - 1 - np.floor(np.log10(np.abs(exact))))
        is_left = (scale >= 1.0) & (scale < _LARGEST_SCALE)  # others are zeros, whole, or further from 1 than matters
        for _ in _DIGITS:
            rounded = np.rint(exact * scale) / scale
            fits = is_left & (rounded.astype(np.float32) == array)
            short[fits] = rounded[fits]
            is_left &= ~fits
            scale *= 10.0
    return short
