"""Random numbers that depend on a seed and a position alone: what makes a sampled text repeatable in any company."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

#: Philox 4x64 (Salmon et al. 2011) makes so many numbers of one count of its counter.
_NUMBERS_PER_COUNT = 4
#: Numbers are drawn in blocks: one call for so many tokens.
_BLOCK = 256


def uniforms(seed: int, start: int = 0) -> Iterator[float]:
    """Without end: the numbers of this seed's stream in [0, 1), from number `start` on. `seed` is below 2**64.

    Number i is the i-th `random()` of numpy's `Generator(Philox(key=seed))`, wherever one begins to read.
    """
    bits = np.random.Philox(key=seed)
    bits.advance(start // _NUMBERS_PER_COUNT)
    generator = np.random.Generator(bits)
    generator.random(start % _NUMBERS_PER_COUNT)
    while True:
        yield from generator.random(_BLOCK).tolist()
