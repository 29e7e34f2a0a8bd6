"""Padding of ragged lists to arrays: ids keep their places, and all other elements are zero."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.bundle.padding import lengths_of, pad_ids, pad_nested_ids

IDS = st.lists(st.integers(0, 2**40), max_size=6)


@settings(deadline=None)
@given(st.lists(IDS, min_size=1, max_size=6))
def test_ids_are_padded_with_zeros(sequences: list[list[int]]) -> None:
    """Rows are padded with zeros to the longest one, and the array is writable."""
    padded = pad_ids(sequences)
    width = max(map(len, sequences))
    assert (padded.shape, padded.dtype.name) == ((len(sequences), width), "int64")
    assert padded.tolist() == [[*ids, *[0] * (width - len(ids))] for ids in sequences]
    assert padded.flags.writeable


@settings(deadline=None)
@given(st.lists(st.lists(IDS, min_size=1, max_size=4), min_size=1, max_size=4))
def test_nested_ids_are_padded_on_both_axes(sequences: list[list[list[int]]]) -> None:
    """Words are padded to the longest word of the batch, and missing words are all zeros."""
    padded = pad_nested_ids(sequences)
    time, inner = max(map(len, sequences)), max(len(word) for words in sequences for word in words)
    assert padded.shape == (len(sequences), time, inner)
    for row, words in enumerate(sequences):
        assert padded[row, len(words) :].any() == np.False_
        assert padded[row, : len(words)].tolist() == [[*ids, *[0] * (inner - len(ids))] for ids in words]


@pytest.mark.parametrize("sequences", [[], [[]], [[1], []]])
def test_nothing_is_no_sequence(sequences: list[list[int]]) -> None:
    """An empty batch or an empty sequence is refused before it reaches a graph."""
    with pytest.raises(ValueError, match="at least one"):
        lengths_of(sequences)
