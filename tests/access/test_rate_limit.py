"""The rate limit: a minute's worth at once, then the mean rate, and debts are waited for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.access.rate_limit import WINDOW_S, RateLimit


def allowed(limit: RateLimit, now_s: float) -> int:
    """Take units until one is refused."""
    count = 0
    while limit.wait_s(now_s) <= 0:
        limit.take(now_s)
        count += 1
    return count


@given(per_minute=st.integers(1, 500), now_s=st.floats(0, 1e7))
def test_a_minutes_worth_may_be_taken_at_once_and_not_one_more(per_minute: int, now_s: float) -> None:
    limit = RateLimit(per_minute)
    assert limit.state(now_s) == (per_minute, 0)
    assert allowed(limit, now_s) == per_minute
    assert limit.state(now_s)[0] == 0


@pytest.mark.parametrize("per_minute", [1, 7, 60, 600])
def test_after_the_time_that_it_says_one_more_is_allowed(per_minute: int) -> None:
    limit = RateLimit(per_minute)
    allowed(limit, 100.0)
    wait_s = limit.wait_s(100.0)
    assert 0 < wait_s <= WINDOW_S / per_minute
    assert allowed(limit, 100.0 + wait_s - 1e-3) == 0
    assert allowed(limit, 100.0 + wait_s + 1e-6) == 1


@given(per_minute=st.integers(1, 300), times=st.lists(st.floats(0, 600), min_size=1, max_size=300))
def test_never_more_than_twice_the_limit_in_any_minute(per_minute: int, times: list[float]) -> None:
    """The burst of one minute and what has been refilled meanwhile."""
    limit, taken = RateLimit(per_minute), []
    for now_s in sorted(times):
        if limit.wait_s(now_s) <= 0:
            limit.take(now_s)
            taken.append(now_s)
    for start_s in taken:
        assert sum(start_s <= now_s < start_s + WINDOW_S for now_s in taken) <= 2 * per_minute


def test_what_is_counted_after_the_fact_is_owed() -> None:
    """300 tokens of 100 a minute: nothing for two minutes."""
    limit = RateLimit(100)
    limit.take(0.0, 300)
    assert limit.state(0.0) == (0, 180_001)
    assert limit.wait_s(119.0) > 0
    assert limit.wait_s(121.0) <= 0


def test_another_limit_keeps_what_was_used_as_a_share() -> None:
    limit = RateLimit(100)
    limit.take(0.0, 50)
    limit.change(10)
    assert limit.state(0.0)[0] == 5
