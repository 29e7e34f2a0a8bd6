"""Properties of each sampling filter and penalty, on random and extreme scores."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from service.bundle.padding import IntArray
from service.bundle.tokenizer import EOS
from service.tasks.core.probabilities import DoubleArray, log_softmax, softmax
from service.tasks.generation.sampling import (
    BoolArray,
    Choice,
    DecodingRules,
    RowOptions,
    RowRules,
    apply_temperature,
    draw,
    keep_top_k,
    keep_top_p,
    keep_typical_p,
    most_likely,
    penalise_frequency,
    penalise_repetition,
)

Rule = Callable[[DoubleArray, DoubleArray], DoubleArray]

SCORES = hnp.arrays(np.float64, st.integers(5, 12), elements=st.floats(-20, 20))
NOTHING: IntArray = np.zeros((1, 2, 8), dtype=np.int64)


def of_row(rule: Rule, scores: DoubleArray, value: float) -> DoubleArray:
    """Apply a sampling function to one row `[vocab]`."""
    return rule(scores[None], np.array([[value]]))[0]


def drawn(scores: DoubleArray, number: float) -> int:
    return int(draw(scores[None], np.array([number]))[0])


def distribution(logits: DoubleArray, rules: DecodingRules, counts: IntArray = NOTHING) -> DoubleArray:
    """`[vocab]`: the log-probabilities from which one row samples."""
    choice = RowRules([RowOptions(rules, draws=False, reports=True)]).choose(
        logits[None], [], counts if rules.has_penalty else None
    )
    assert choice.log_probabilities is not None
    return choice.log_probabilities[0]


def kept(scores: DoubleArray) -> set[int]:
    return set(np.flatnonzero(scores > -np.inf).tolist())


@settings(deadline=None)
@given(SCORES, st.integers(1, 15))
def test_top_k_keeps_the_best_and_their_equals(scores: DoubleArray, k: int) -> None:
    threshold = sorted(scores, reverse=True)[min(k, len(scores)) - 1]
    assert kept(of_row(keep_top_k, scores, k)) == set(np.flatnonzero(scores >= threshold).tolist())


@settings(deadline=None)
@given(SCORES, st.floats(0.01, 0.99))
def test_top_p_keeps_the_smallest_set_that_reaches_p(scores: DoubleArray, p: float) -> None:
    """The kept set is the smallest one of the most likely tokens whose probability reaches p."""
    probabilities = softmax(scores)
    nucleus = kept(of_row(keep_top_p, scores, p))
    mass = sum(probabilities[i] for i in nucleus)
    smallest = min(probabilities[i] for i in nucleus)
    assert mass >= p - 1e-9
    assert mass - smallest < p + 1e-9
    assert all(probabilities[i] <= smallest for i in set(range(len(scores))) - nucleus)


def test_top_p_keeps_no_more_when_p_is_reached_exactly() -> None:
    assert kept(of_row(keep_top_p, np.zeros(4), 0.5)) == {0, 1}


@settings(deadline=None)
@given(SCORES, st.floats(0.01, 0.99))
def test_typical_p_keeps_what_is_nearest_to_the_entropy(scores: DoubleArray, p: float) -> None:
    log_probabilities = log_softmax(scores)
    distance = np.abs(-log_probabilities + (np.exp(log_probabilities) * log_probabilities).sum())
    typical = kept(of_row(keep_typical_p, scores, p))
    furthest = max(distance[i] for i in typical)
    assert np.exp(log_probabilities)[list(typical)].sum() >= p - 1e-9
    assert all(distance[i] >= furthest - 1e-9 for i in set(range(len(scores))) - typical)


@settings(deadline=None)
@given(SCORES, st.floats(0.0, 1.0, exclude_max=True))
def test_draws_are_possible_tokens_only(scores: DoubleArray, uniform: float) -> None:
    allowed = of_row(keep_top_p, scores, 0.6)
    assert drawn(allowed, uniform) in kept(allowed)


def test_draws_follow_the_distribution() -> None:
    """Evenly spaced uniform numbers select each token in proportion to its probability."""
    log_probabilities = np.log([0.125, 0.5, 0.0625, 0.3125])
    tokens = draw(np.tile(log_probabilities, (1000, 1)), (np.arange(1000) + 0.5) / 1000)
    assert np.bincount(tokens, minlength=4) == pytest.approx([125, 500, 62.5, 312.5], abs=1)


@settings(deadline=None)
@given(hnp.arrays(np.float64, st.integers(2, 9), elements=st.floats(-3, 0)), st.integers(1, 2**40))
def test_the_ends_of_the_interval_draw_possible_tokens(scores: DoubleArray, ulps: int) -> None:
    """Uniform numbers of 0 and just below 1 never select a token of probability zero."""
    between = np.array([-np.inf, *scores, -np.inf])
    assert drawn(between, 0.0) in kept(between)
    assert drawn(between, 1.0 - ulps * 2.0**-53) in kept(between)


def test_repetition_penalty_makes_seen_tokens_less_likely_whatever_their_sign() -> None:
    scores = np.array([2.0, -2.0, 2.0, -2.0])
    seen = np.array([True, True, False, False])
    assert penalise_repetition(scores, seen, np.array([2.0])).tolist() == [1.0, -4.0, 2.0, -2.0]


def test_frequency_penalty_counts_occurrences() -> None:
    assert penalise_frequency(np.zeros(3), np.array([0, 1, 3]), np.array([0.5])).tolist() == [0.0, -0.5, -1.5]


def test_temperature_divides_differences() -> None:
    assert np.diff(of_row(apply_temperature, np.array([1.0, 3.0]), 0.5)).tolist() == [4.0]


def test_the_repetition_penalty_reads_the_prompt_and_the_frequency_penalty_only_the_text() -> None:
    counts = NOTHING.copy()
    counts[0, 0, [4, 5]], counts[0, 1, 5] = 1, 1
    logits = np.full(8, 2.0, dtype=np.float32)
    repeated = distribution(logits, DecodingRules(repetition_penalty=2.0), counts)
    frequent = distribution(logits, DecodingRules(frequency_penalty=1.0), counts)
    assert repeated[6] - repeated[[4, 5]] == pytest.approx([1.0, 1.0])
    assert frequent[6] - frequent[[4, 5]] == pytest.approx([0.0, 1.0])


def test_log_probabilities_are_those_of_the_shaped_distribution() -> None:
    logits = np.array([9, 9, 9, 0, 1, 2, 3, 4], dtype=np.float32)
    found = distribution(logits, DecodingRules(top_k=2, temperature=2.0))
    assert kept(found) == {6, 7}
    assert np.exp(found).sum() == pytest.approx(1.0)
    assert found[7] - found[6] == pytest.approx(0.5)


def test_without_rules_the_likeliest_token_is_taken_and_of_equals_the_first() -> None:
    """Greedy decoding takes the most likely token, the lowest id on ties, and never padding, unknown or begin."""
    logits = np.array([[9, 9, 9, 1, 5, 5], [9, 9, 9, 7, 5, 5]], dtype=np.float32)
    plain = RowRules([RowOptions(DecodingRules(), draws=False, reports=False)] * 2)
    assert plain.choose(logits, [], None).token_ids.tolist() == [4, EOS]


EXTREME = st.sampled_from([5e-324, 1e-300, 1e-9, 1.0, 1e9, 1e308])


@settings(max_examples=200, deadline=None)
@given(
    logits=hnp.arrays(np.float32, 8, elements=st.floats(-(2.0**100), 2.0**100, width=32)),
    rules=st.builds(
        DecodingRules,
        temperature=st.none() | EXTREME,
        repetition_penalty=st.none() | EXTREME,
        frequency_penalty=st.none() | st.sampled_from([-2.0, 2.0]),
        presence_penalty=st.none() | st.sampled_from([-2.0, 2.0]),
        logit_bias=st.dictionaries(st.integers(0, 7), st.sampled_from([-100.0, 100.0])),
        top_k=st.none() | st.integers(1, 2**63),
        top_p=st.none() | st.sampled_from([1e-300, 0.5, 1 - 1e-16]),
        typical_p=st.none() | st.sampled_from([1e-300, 0.5, 1 - 1e-16]),
    ),
)
def test_no_rule_makes_a_distribution_that_is_none(logits: DoubleArray, rules: DecodingRules) -> None:
    """Every combination of allowed options leaves a valid distribution without special tokens other than the end."""
    counts = np.array([[[0, 3, 0, 1, 2, 0, 5, 0]] * 2])
    found = distribution(logits, rules, counts)
    assert not np.isnan(found).any()
    assert np.exp(found).sum() == pytest.approx(1.0)
    assert min(kept(found)) >= 3


WISHES = st.builds(
    RowOptions,
    st.builds(
        DecodingRules,
        temperature=st.none() | st.sampled_from([0.3, 1.0, 1.7]),
        repetition_penalty=st.none() | st.sampled_from([0.5, 1.3]),
        frequency_penalty=st.none() | st.sampled_from([-0.5, 0.7]),
        presence_penalty=st.none() | st.sampled_from([-0.5, 0.7]),
        logit_bias=st.dictionaries(st.integers(0, 7), st.sampled_from([-100.0, 0.1, 100.0]), max_size=3),
        top_k=st.none() | st.sampled_from([1, 3, 7, 100]),
        top_p=st.none() | st.sampled_from([0.2, 0.9]),
        typical_p=st.none() | st.sampled_from([0.3, 0.9]),
    ),
    draws=st.booleans(),
    reports=st.booleans(),
    is_constrained=st.booleans(),
)


def choose(
    logits: DoubleArray, options: list[RowOptions], numbers: DoubleArray, counts: IntArray, masks: BoolArray
) -> Choice:
    """Choose tokens for rows that each have a uniform number, counts and a mask, whether or not they use them."""
    rules = RowRules(options)
    drawn = [number for number, row in zip(numbers.tolist(), options, strict=True) if row.draws]
    allowed = [mask for mask, row in zip(masks, options, strict=True) if row.is_constrained]
    return rules.choose(logits, drawn, counts[rules.penalised] if rules.penalised else None, allowed)


@settings(max_examples=150, deadline=None)
@given(options=st.lists(WISHES, min_size=2, max_size=9), seed=st.integers(0, 2**32 - 1), vocab=st.sampled_from([8, 65]))
def test_a_row_chooses_the_same_to_the_last_bit_in_any_company(
    options: list[RowOptions], seed: int, vocab: int
) -> None:
    """A row's token and log-probabilities are bit-identical alone and in any batch, even with tied scores."""
    random = np.random.default_rng(seed)
    rows = len(options)
    logits = (random.normal(size=(rows, vocab)) * 3).round(1).astype(np.float32)
    numbers, counts = random.random(rows), random.integers(0, 3, size=(rows, 2, vocab))
    masks = random.random((rows, vocab)) < 0.5
    masks[np.arange(rows), random.integers(EOS, vocab, size=rows)] = True  # something is always allowed
    together = choose(logits, options, numbers, counts, masks)
    reporting = RowRules(options).reporting
    for row in range(rows):
        one = slice(row, row + 1)
        alone = choose(logits[one], options[one], numbers[one], counts[one], masks[one])
        assert alone.token_ids[0] == together.token_ids[row]
        assert masks[row, alone.token_ids[0]] or not options[row].is_constrained
        if alone.log_probabilities is not None and together.log_probabilities is not None:
            np.testing.assert_array_equal(alone.log_probabilities[0], together.log_probabilities[reporting.index(row)])


def test_most_likely_leaves_out_the_impossible() -> None:
    assert most_likely(log_softmax(of_row(keep_top_k, np.array([0.0, 3.0, 1.0, 3.0]), 2)), 3) == [1, 3]
