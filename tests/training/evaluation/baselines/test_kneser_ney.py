"""Kneser-Ney smoothing: probabilities, and the published counts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.bundle.tokenizer import UNK
from training.evaluation.baselines.generation import witten_bell
from training.evaluation.baselines.kneser_ney import kneser_ney

IDS = st.lists(st.integers(4, 8), min_size=3, max_size=60)


@settings(max_examples=60, deadline=None)
@given(train=IDS, history=st.lists(st.integers(4, 9), max_size=4), order=st.integers(1, 5))
def test_probabilities_add_up_to_one(train: list[int], history: list[int], order: int) -> None:
    """After any history, the probabilities of all training tokens and of the unknown token sum to 1."""
    tokens = [*sorted(set(train)), UNK]
    total = sum(kneser_ney(np.array(train), np.array([*history, token]), order)[-1] for token in tokens)
    assert total == pytest.approx(1.0)


def test_bigrams_by_hand() -> None:
    """The probability of `b` after `a` in `a b a b a c`.

    Two bigrams (ab, ba) occur twice and one (ac) once, so the discount is 1 / (1 + 2 * 2). As unigrams, a, b and c each
    follow one distinct token, so their discount is 1 and only the uniform distribution, 1 / 4, remains.
    """
    train, dev = np.array([1, 2, 1, 2, 1, 3]), np.array([1, 2])
    back_off = (1 - 1) / 3 + 1 * 3 / 3 * 1 / 4
    assert kneser_ney(train, dev, 2)[1] == pytest.approx((2 - 1 / 5) / 3 + 1 / 5 * 2 / 3 * back_off)


def test_a_token_of_one_company_is_not_expected_elsewhere() -> None:
    """Francisco is frequent, but only after San, so glasses is likelier after an unseen history, as in the papers."""
    san, francisco, glasses, others = 1, 2, 3, range(4, 12)
    train = [san, francisco] * 20 + [token for other in others for token in (other, glasses)]
    dev = np.array([glasses, glasses, francisco])
    probabilities = (
        kneser_ney(np.array(train), np.array([99, *dev[1:]]), 2),
        kneser_ney(np.array(train), dev[[0, 2]], 2),
    )
    assert probabilities[0][1] > probabilities[1][1]


def test_it_is_stronger_than_witten_bell_on_what_repeats() -> None:
    """Kneser-Ney beats Witten-Bell on generated sentences of few words, where most of dev was seen."""
    generator = np.random.default_rng(0)
    phrases = generator.integers(4, 60, size=(40, 5))
    train = phrases[generator.integers(0, 40, size=400)].ravel()
    dev = phrases[generator.integers(0, 40, size=60)].ravel()
    assert np.log(kneser_ney(train, dev, 5)).mean() > np.log(witten_bell(train, dev, 3)).mean()
