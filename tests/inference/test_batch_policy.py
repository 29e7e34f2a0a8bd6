"""Which items form the next batch."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.inference.batch_policy import BatchLimits, next_batch, padding_ratio, split_expired


@dataclass(frozen=True, eq=False)
class Item:
    length: int
    deadline_s: float = 10.0
    is_cancelled: bool = False


items = st.lists(st.builds(Item, st.integers(1, 500)), max_size=40)
limits = st.builds(BatchLimits, st.integers(1, 32), st.integers(1, 4096), st.floats(0.0, 1.0))


@given(items, limits)
def test_a_batch_keeps_its_limits_and_takes_the_oldest(waiting: list[Item], limits: BatchLimits) -> None:
    """One item alone may break the token budget: it must be answered too."""
    batch = next_batch(waiting, limits)
    lengths = [item.length for item in batch]
    assert bool(batch) == bool(waiting)
    assert len(set(map(id, batch))) == len(batch)
    assert all(any(item is other for other in waiting) for item in batch)
    if waiting:
        assert batch[0] is waiting[0]
        assert len(batch) <= limits.max_items
    if len(batch) > 1:
        assert max(lengths) * len(batch) <= limits.max_padded_tokens
        assert padding_ratio(lengths) <= limits.max_padding_ratio


@given(items, limits)
def test_everything_is_answered_in_the_end(waiting: list[Item], limits: BatchLimits) -> None:
    """Taking batches until nothing waits takes each item once."""
    rest, taken = list(waiting), []
    while rest:
        batch = next_batch(rest, limits)
        taken += batch
        rest = [item for item in rest if not any(item is chosen for chosen in batch)]
    assert sorted(map(id, taken)) == sorted(map(id, waiting))


def test_near_lengths_ride_together() -> None:
    waiting = [Item(10), Item(100), Item(11), Item(9), Item(90)]
    assert sorted(item.length for item in next_batch(waiting, BatchLimits())) == [9, 10, 11]


def test_of_equal_lengths_the_older_goes_first() -> None:
    waiting = [Item(5) for _ in range(4)]
    assert next_batch(waiting, BatchLimits(max_items=3)) == waiting[:3]


def test_the_cancelled_and_the_expired_are_left_out() -> None:
    live, expired, cancelled = Item(1), Item(2, deadline_s=1.0), Item(3, is_cancelled=True)
    assert split_expired([live, expired, cancelled], now_s=1.0) == ([live], [expired])


def test_padding_ratio_is_the_share_of_padding() -> None:
    assert padding_ratio([4, 4]) == 0.0
    assert padding_ratio([1, 3]) == pytest.approx(1 / 3)
