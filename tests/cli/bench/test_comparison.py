"""Ratios of two servers have the interval that statistics gives them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from service.cli.bench.comparison import Ratio, paired_ratio, unpaired_ratio

FIRST, SECOND = [100.0, 90.0, 120.0, 80.0, 105.0], [121.0, 106.0, 139.0, 99.0, 127.0]


def test_the_interval_of_paired_rounds_is_that_of_a_t_test() -> None:
    """A machine that is slower for a round is so for both servers, so the interval is narrow."""
    found = paired_ratio(FIRST, SECOND)
    expected = stats.ttest_1samp(np.log(SECOND) - np.log(FIRST), 0).confidence_interval(0.95)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((np.exp(expected.low), np.exp(expected.high)), rel=1e-3)
    assert found.is_significant


def test_the_interval_of_unpaired_rounds_is_that_of_welch() -> None:
    """The degrees of freedom are rounded down, which makes the interval slightly wider."""
    found = unpaired_ratio(FIRST, SECOND)
    expected = stats.ttest_ind(np.log(SECOND), np.log(FIRST), equal_var=False).confidence_interval(0.95)
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    assert found.low <= np.exp(expected.low) == pytest.approx(found.low, rel=0.02)
    assert found.high >= np.exp(expected.high) == pytest.approx(found.high, rel=0.02)


def test_one_round_has_a_ratio_and_no_interval() -> None:
    assert paired_ratio([100.0], [150.0]) == Ratio(pytest.approx(1.5))
    assert unpaired_ratio([100.0], [150.0, 150.0]) == Ratio(pytest.approx(1.5))


def test_rounds_without_answers_are_left_out() -> None:
    assert paired_ratio([0.0, 100.0], [50.0, 150.0]) == Ratio(pytest.approx(1.5))
    assert paired_ratio([0.0], [50.0]) is None
    assert unpaired_ratio([100.0], [0.0]) is None
