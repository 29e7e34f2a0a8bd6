"""Normalizers and top-k of a step's logits, against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.tasks.core.probabilities import log_softmax
from service.tasks.core.task import Array
from service.tasks.seq2seq.token_scores import largest_entries, log_normalisers, top_token


def random_logits(rows: int, vocab: int, seed: int = 0, scale: float = 3.0) -> Array:
    return np.random.default_rng(seed).normal(scale=scale, size=(rows, vocab)).astype(np.float32)


@pytest.mark.parametrize("scale", [0.1, 3.0, 30.0, 1e4])
@pytest.mark.parametrize("vocab", [5, 1000, 20_011])
def test_normalisers_are_those_of_log_softmax(vocab: int, scale: float) -> None:
    """Normalizers equal those of log-softmax, also where the exponentials overflow float32."""
    logits = random_logits(7, vocab, scale=scale)
    tokens, largest = top_token(logits, 0)
    found = logits[np.arange(7), tokens] - log_normalisers(logits, largest)
    np.testing.assert_allclose(found, log_softmax(logits).max(axis=1), atol=3e-6)


def test_logits_far_below_zero_do_not_vanish() -> None:
    logits = random_logits(3, 50) - np.float32(500)
    found = log_normalisers(logits, logits.max(axis=1))
    np.testing.assert_allclose(found, log_normalisers(logits + np.float32(500), logits.max(axis=1) + 500) - 500)


def test_a_row_is_the_same_to_the_bit_in_any_company() -> None:
    """A row's normalizer is bit-identical in any batch, even with rows that need a shift against overflow."""
    logits = np.concatenate([random_logits(9, 8003), random_logits(4, 8003, scale=100.0)])
    together = log_normalisers(logits, logits.max(axis=1))
    alone = [log_normalisers(row[None], row.max()[None])[0] for row in logits]
    assert together.tolist() == alone


def test_the_top_token_is_the_lowest_of_equals_from_the_first_that_counts() -> None:
    logits = np.array([[9, 1, 4, 4, 2], [0, 1, 2, 8, 8], [7, 7, 7, 7, 7]], dtype=np.float32)
    tokens, largest = top_token(logits, 2)
    assert tokens.tolist() == [2, 3, 2]
    assert largest.tolist() == [9, 8, 7]


@settings(max_examples=60, deadline=None)
@given(
    vocab=st.integers(1, 3000),
    count=st.integers(1, 17),
    levels=st.sampled_from([2, 50, 10**6]),
    seed=st.integers(0, 99),
)
def test_the_largest_entries_are_all_found(vocab: int, count: int, levels: int, seed: int) -> None:
    """Top-k finds the largest entries, including all that tie with the smallest of them."""
    scores = np.random.default_rng(seed).integers(0, levels, size=(3, vocab)).astype(np.float32)
    found = set(zip(*(index.tolist() for index in largest_entries(scores, count)), strict=True))
    least = np.sort(scores, axis=1)[:, -min(count, vocab)]
    assert found >= set(zip(*(index.tolist() for index in np.nonzero(scores >= least[:, None])), strict=True))


def test_few_entries_are_found_in_a_long_row() -> None:
    """The pruning bound is tight: in a long row not every block contributes candidates."""
    rows, _ = largest_entries(random_logits(4, 8000), 5)
    assert len(rows) < 4 * 40
