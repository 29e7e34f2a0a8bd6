"""Viterbi decoding and marginals of the CRF, against enumeration of all paths."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.tasks.core.task import Array
from service.tasks.single_pass.crf import marginals, viterbi


def path_score(path: tuple[int, ...], emissions: Array, transitions: Array) -> float:
    emissions, transitions = emissions.astype(np.float64), transitions.astype(np.float64)
    inside = sum(transitions[a, b] for a, b in pairwise(path))
    ends = transitions[-1, path[0]] + transitions[path[-1], -1]
    return float(inside + ends + sum(emissions[time, tag] for time, tag in enumerate(path)))


def random_field(seed: int, time: int, labels: int, scale: float = 2.0) -> tuple[Array, Array]:
    random = np.random.default_rng(seed)
    emissions = scale * random.normal(size=(time, labels))
    transitions = scale * random.normal(size=(labels + 1, labels + 1))
    return emissions.astype(np.float32), transitions.astype(np.float32)


def alone(emissions: Array) -> tuple[Array, Array]:
    """One sentence as a batch, and its length."""
    return emissions[None], np.array([len(emissions)])


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), time=st.integers(1, 5), labels=st.integers(1, 4))
def test_viterbi_finds_the_best_of_all_paths(seed: int, time: int, labels: int) -> None:
    emissions, transitions = random_field(seed, time, labels)
    best = max(product(range(labels), repeat=time), key=lambda path: path_score(path, emissions, transitions))
    assert tuple(viterbi(*alone(emissions), transitions)[0]) == best


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), time=st.integers(1, 5), labels=st.integers(1, 4))
def test_marginals_are_sums_over_all_paths(seed: int, time: int, labels: int) -> None:
    emissions, transitions = random_field(seed, time, labels)
    paths = list(product(range(labels), repeat=time))
    weights = np.exp([path_score(path, emissions, transitions) for path in paths])
    expected = np.zeros((time, labels))
    for path, weight in zip(paths, weights / weights.sum(), strict=True):
        expected[np.arange(time), path] += weight
    np.testing.assert_allclose(marginals(*alone(emissions), transitions)[0], expected, atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), lengths=st.lists(st.integers(1, 7), min_size=1, max_size=5))
def test_a_padded_row_is_read_out_as_if_alone(seed: int, lengths: list[int]) -> None:
    """Neither other rows nor the contents of the padding change a row's path or marginals."""
    time = max(lengths)
    emissions, transitions = random_field(seed, time * len(lengths), labels=3)
    batch = emissions.reshape(len(lengths), time, 3)
    paths = viterbi(batch, np.array(lengths), transitions)
    chances = marginals(batch, np.array(lengths), transitions)
    for row, length in enumerate(lengths):
        single = alone(batch[row, :length])
        assert paths[row, :length].tolist() == viterbi(*single, transitions)[0].tolist()
        np.testing.assert_allclose(chances[row, :length], marginals(*single, transitions)[0], atol=1e-12)


def test_marginals_survive_large_scores_and_forbidden_transitions() -> None:
    """Large scores, long sentences and forbidden transitions cause no overflow."""
    emissions, transitions = random_field(1, time=300, labels=5, scale=200.0)
    transitions[0, 1] = transitions[-1, 2] = -10_000.0
    (result,) = marginals(*alone(emissions), transitions)
    assert np.isfinite(result).all()
    np.testing.assert_allclose(result.sum(axis=1), 1.0)
    assert result[0, 2] == pytest.approx(0.0)
