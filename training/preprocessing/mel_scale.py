"""Mel scale (O'Shaughnessy 1987) and triangular filters between edges on any scale, in numpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


def mel_of(hertz: Numbers) -> Numbers:
    """Frequencies in mel."""
    return np.asarray(2595.0 * np.log10(1.0 + hertz / 700.0))


def hertz_of(mel: Numbers) -> Numbers:
    """The inverse of `mel_of`."""
    return np.asarray(700.0 * (10.0 ** (mel / 2595.0) - 1.0))


def triangles(places: Numbers, edges: Numbers) -> Numbers:
    """`[places, edges - 2]`: filters that rise from each edge to the next and fall to the one after it.

    Args:
        places: of the bins of a transform, on the scale of the edges: hertz or mel.
        edges: increasing; two more than there are filters.
    """
    rising = (places[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - places[:, None]) / (edges[2:] - edges[1:-1])
    return np.asarray(np.maximum(0.0, np.minimum(rising, falling)))
