"""The laws of each filter and penalty, on random and on extreme scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from service.bundle.padding import IntArray
from service.tasks.decoding import (
    DecodingRules,
    apply_temperature,
    draw,
    forbid_special,
    keep_top_k,
    keep_top_p,
    keep_typical_p,
    most_likely,
    next_token_log_probabilities,
    penalise_frequency,
    penalise_repetition,
)
from service.tasks.probabilities import DoubleArray, log_softmax, softmax

SCORES = hnp.arrays(np.float64, st.integers(5, 12), elements=st.floats(-20, 20))
NOTHING: IntArray = np.zeros(8, dtype=np.int64)


def kept(scores: DoubleArray) -> set[int]:
    return set(np.flatnonzero(scores > -np.inf).tolist())


@given(SCORES, st.integers(1, 15))
def test_top_k_keeps_the_best_and_their_equals(scores: DoubleArray, k: int) -> None:
    threshold = sorted(scores, reverse=True)[min(k, len(scores)) - 1]
    assert kept(keep_top_k(scores, k)) == set(np.flatnonzero(scores >= threshold).tolist())


@given(SCORES, st.floats(0.01, 0.99))
def test_top_p_keeps_the_smallest_set_that_reaches_p(scores: DoubleArray, p: float) -> None:
    """The kept set reaches p, without its last member it does not, and nothing left out is likelier than a member."""
    probabilities = softmax(scores)
    nucleus = kept(keep_top_p(scores, p))
    mass = sum(probabilities[i] for i in nucleus)
    smallest = min(probabilities[i] for i in nucleus)
    assert mass >= p - 1e-9
    assert mass - smallest < p + 1e-9
    assert all(probabilities[i] <= smallest for i in set(range(len(scores))) - nucleus)


def test_top_p_keeps_no_more_when_p_is_reached_exactly() -> None:
    assert kept(keep_top_p(np.zeros(4), 0.5)) == {0, 1}


@given(SCORES, st.floats(0.01, 0.99))
def test_typical_p_keeps_what_is_nearest_to_the_entropy(scores: DoubleArray, p: float) -> None:
    log_probabilities = log_softmax(scores)
    distance = np.abs(-log_probabilities + (np.exp(log_probabilities) * log_probabilities).sum())
    typical = kept(keep_typical_p(scores, p))
    furthest = max(distance[i] for i in typical)
    assert np.exp(log_probabilities)[list(typical)].sum() >= p - 1e-9
    assert all(distance[i] >= furthest - 1e-9 for i in set(range(len(scores))) - typical)


@given(SCORES, st.floats(0.0, 1.0, exclude_max=True))
def test_draws_are_possible_tokens_only(scores: DoubleArray, uniform: float) -> None:
    log_probabilities = log_softmax(keep_top_p(forbid_special(scores), 0.6))
    assert draw(log_probabilities, uniform) in kept(log_probabilities)


def test_draws_follow_the_distribution() -> None:
    """Every thousandth of the unit interval once gives each token in proportion to its probability."""
    log_probabilities = np.log([0.125, 0.5, 0.0625, 0.3125])
    drawn = [draw(log_probabilities, (i + 0.5) / 1000) for i in range(1000)]
    assert np.bincount(drawn, minlength=4) == pytest.approx([125, 500, 62.5, 312.5], abs=1)


@pytest.mark.parametrize("uniform", [0.0, np.nextafter(1.0, 0.0)])
def test_the_ends_of_the_interval_draw_possible_tokens(uniform: float) -> None:
    with np.errstate(divide="ignore"):
        log_probabilities = np.log([0.0, 0.5, 0.5, 0.0])
    assert draw(log_probabilities, uniform) in (1, 2)


def test_repetition_penalty_makes_seen_tokens_less_likely_whatever_their_sign() -> None:
    scores = np.array([2.0, -2.0, 2.0, -2.0])
    seen = np.array([True, True, False, False])
    assert penalise_repetition(scores, seen, 2.0).tolist() == [1.0, -4.0, 2.0, -2.0]


def test_frequency_penalty_counts_occurrences() -> None:
    assert penalise_frequency(np.zeros(3), np.array([0, 1, 3]), 0.5).tolist() == [0.0, -0.5, -1.5]


def test_temperature_divides_differences() -> None:
    assert np.diff(apply_temperature(np.array([1.0, 3.0]), 0.5)).tolist() == [4.0]


def test_the_repetition_penalty_reads_the_prompt_and_the_frequency_penalty_only_the_text() -> None:
    num_read, num_produced = NOTHING.copy(), NOTHING.copy()
    num_read[[4, 5]], num_produced[5] = 1, 1
    logits = np.full(8, 2.0, dtype=np.float32)
    repeated = next_token_log_probabilities(logits, DecodingRules(repetition_penalty=2.0), num_read, num_produced)
    frequent = next_token_log_probabilities(logits, DecodingRules(frequency_penalty=1.0), num_read, num_produced)
    assert repeated[6] - repeated[[4, 5]] == pytest.approx([1.0, 1.0])
    assert frequent[6] - frequent[[4, 5]] == pytest.approx([0.0, 1.0])


def test_log_probabilities_are_those_of_the_shaped_distribution() -> None:
    logits = np.array([9, 9, 9, 0, 1, 2, 3, 4], dtype=np.float32)
    found = next_token_log_probabilities(logits, DecodingRules(top_k=2, temperature=2.0), NOTHING, NOTHING)
    assert kept(found) == {6, 7}
    assert np.exp(found).sum() == pytest.approx(1.0)
    assert found[7] - found[6] == pytest.approx(0.5)


EXTREME = st.sampled_from([5e-324, 1e-300, 1e-9, 1.0, 1e9, 1e308])


@settings(max_examples=200, deadline=None)
@given(
    logits=hnp.arrays(np.float32, 8, elements=st.floats(-(2.0**100), 2.0**100, width=32)),
    rules=st.builds(
        DecodingRules,
        temperature=st.none() | EXTREME,
        repetition_penalty=st.none() | EXTREME,
        frequency_penalty=st.none() | st.sampled_from([-2.0, 2.0]),
        top_k=st.none() | st.integers(1, 2**63),
        top_p=st.none() | st.sampled_from([1e-300, 0.5, 1 - 1e-16]),
        typical_p=st.none() | st.sampled_from([1e-300, 0.5, 1 - 1e-16]),
    ),
)
def test_no_rule_makes_a_distribution_that_is_none(logits: DoubleArray, rules: DecodingRules) -> None:
    """Whatever a caller is allowed to ask, there is a token to choose, and never a special one but the end."""
    counts = np.array([0, 3, 0, 1, 2, 0, 5, 0])
    found = next_token_log_probabilities(logits, rules, counts, counts)
    assert not np.isnan(found).any()
    assert np.exp(found).sum() == pytest.approx(1.0)
    assert min(kept(found)) >= 3


def test_most_likely_leaves_out_the_impossible() -> None:
    assert most_likely(log_softmax(keep_top_k(np.array([0.0, 3.0, 1.0, 3.0]), 2)), 3) == [1, 3]
