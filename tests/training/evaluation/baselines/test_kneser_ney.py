"""Kneser-Ney smoothing: probabilities, and the counts of the papers."""

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
    """After any history, those of all tokens of train and of one more, which stands for all others."""
    tokens = [*sorted(set(train)), UNK]
    total = sum(kneser_ney(np.array(train), np.array([*history, token]), order)[-1] for token in tokens)
    assert total == pytest.approx(1.0)


def test_bigrams_by_hand() -> None:
    """Of `a b a b a c`, b after a.

    Two bigrams (ab, ba) were seen twice and one (ac) once, so that the discount is 1 / (1 + 2 * 2). Alone, a, b and c
    each stood after one other token, so that their discount is 1 and nothing is left but the ground, 1 / 4.
    """
    train, dev = np.array([1, 2, 1, 2, 1, 3]), np.array([1, 2])
    back_off = (1 - 1) / 3 + 1 * 3 / 3 * 1 / 4
    assert kneser_ney(train, dev, 2)[1] == pytest.approx((2 - 1 / 5) / 3 + 1 / 5 * 2 / 3 * back_off)


def test_a_token_of_one_company_is_not_expected_elsewhere() -> None:
    """The papers' example: Francisco is frequent, but only after San. After an unseen history, glasses are likelier."""
    san, francisco, glasses, others = 1, 2, 3, range(4, 12)
    train = [san, francisco] * 20 + [token for other in others for token in (other, glasses)]
    dev = np.array([glasses, glasses, francisco])
    probabilities = (
        kneser_ney(np.array(train), np.array([99, *dev[1:]]), 2),
        kneser_ney(np.array(train), dev[[0, 2]], 2),
    )
    assert probabilities[0][1] > probabilities[1][1]


def test_it_is_stronger_than_witten_bell_on_what_repeats() -> None:
    """On made sentences of few words, where most of dev was seen."""
    generator = np.random.default_rng(0)
    phrases = generator.integers(4, 60, size=(40, 5))
    train = phrases[generator.integers(0, 40, size=400)].ravel()
    dev = phrases[generator.integers(0, 40, size=60)].ravel()
    assert np.log(kneser_ney(train, dev, 5)).mean() > np.log(witten_bell(train, dev, 3)).mean()
