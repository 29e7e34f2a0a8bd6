"""Triangular filters rise from edge to edge, on whichever scale; the mel scale goes there and back."""

from __future__ import annotations

import numpy as np

from training.preprocessing.mel_scale import hertz_of, mel_of, triangles


def test_filters_are_one_at_their_middle_and_add_up_to_one_between_the_outer_ones() -> None:
    edges = np.array([0.0, 1.0, 3.0, 4.0, 8.0])
    filters = triangles(np.linspace(-1.0, 9.0, 101), edges)
    at = {round(place, 1): row for place, row in zip(np.linspace(-1.0, 9.0, 101), filters, strict=True)}
    np.testing.assert_allclose([at[1.0], at[3.0], at[4.0]], np.eye(3), atol=1e-9)
    np.testing.assert_allclose(at[2.0], [0.5, 0.5, 0.0], atol=1e-9)
    np.testing.assert_allclose(filters[20:51].sum(axis=1), 1.0)
    assert filters.min() == filters[:10].max() == filters[90:].max() == 0.0


def test_a_thousand_hertz_are_a_thousand_mel() -> None:
    assert round(float(mel_of(np.array(1000.0)))) == 1000
    np.testing.assert_allclose(hertz_of(mel_of(np.array([0.0, 100.0, 8000.0]))), [0.0, 100.0, 8000.0])
