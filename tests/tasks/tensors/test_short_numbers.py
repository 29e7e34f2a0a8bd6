"""Decimals of float32 numbers: few digits, and the same number when they are read."""

from __future__ import annotations

import numpy as np
import pytest

from service.tasks.tensors.short_numbers import plain_numbers


def test_decimals_are_read_back_as_the_same_floats() -> None:
    """Every float32, from the smallest to the largest, is the float32 of what is written for it."""
    bits = np.random.default_rng(0).integers(0, 2**32, 20_000, dtype=np.uint32)
    numbers = bits.view(np.float32)
    numbers = numbers[np.isfinite(numbers)]
    written = np.array(plain_numbers(numbers)).astype(np.float32)
    assert np.array_equal(written.view(np.uint32), numbers.view(np.uint32))


@pytest.mark.parametrize("count", [1, 100])
def test_decimals_are_short(count: int) -> None:
    """Numbers are written with the digits that they were read from, one by one and in an array."""
    shortest = [20.9, 0.1, -0.001, 0.0, 12345.678, 1.0, 1e-10, 16777216.0]
    for number in shortest:
        assert plain_numbers(np.full(count, number, dtype=np.float32)) == [number] * count


def test_whole_numbers_and_shapes_stay() -> None:
    """Integers stay integers, and nested lists have the shape of the array."""
    assert plain_numbers(np.array([[1, 2]], dtype=np.int64)) == [[1, 2]]
    assert plain_numbers(np.float32([[[0.5]]])) == [[[0.5]]]
    assert plain_numbers(np.array(2.5, dtype=np.float32)) == 2.5
