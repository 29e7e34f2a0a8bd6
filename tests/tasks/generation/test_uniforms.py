"""Uniform random numbers by seed and position."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from service.tasks.generation.sampling import uniforms


@pytest.mark.parametrize("seed", [0, 7, 2**64 - 1])
def test_the_numbers_are_those_of_the_generator_in_order(seed: int) -> None:
    expected = np.random.Generator(np.random.Philox(key=seed)).random(600).tolist()
    assert list(islice(uniforms(seed), 600)) == expected


@pytest.mark.parametrize("start", [0, 1, 2, 3, 4, 5, 255, 256, 257, 1022])
def test_one_may_begin_to_read_anywhere(start: int) -> None:
    whole = list(islice(uniforms(11), start + 300))
    assert list(islice(uniforms(11, start), 300)) == whole[start:]


def test_seeds_give_different_numbers() -> None:
    assert len({next(uniforms(seed)) for seed in range(100)}) == 100
