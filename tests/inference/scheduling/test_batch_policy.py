"""Length-aware batching keeps its limits, starves no item, and bounds padding."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.inference.scheduling.batch_policy import BatchLimits, next_batch, padding_ratio, split_expired

NOW_S = 10.0


@dataclass(frozen=True, eq=False)
class Item:
    length: int
    enqueued_s: float = NOW_S
    deadline_s: float = 1e9
    is_cancelled: bool = False


def queue_of(lengths: list[int], ages_s: list[float]) -> list[Item]:
    """Items in order of arrival, oldest first."""
    oldest_first = sorted(ages_s[: len(lengths)], reverse=True)
    return [Item(length, NOW_S - age_s) for length, age_s in zip(lengths, oldest_first, strict=False)]


queues = st.builds(queue_of, st.lists(st.integers(1, 500), max_size=40), st.lists(st.floats(0.0, 1.0), min_size=40))
limits = st.builds(BatchLimits, st.integers(1, 32), st.integers(1, 4096), st.floats(0.0, 2.0))


@settings(deadline=None)
@given(queues, limits)
def test_a_batch_keeps_its_limits(waiting: list[Item], limits: BatchLimits) -> None:
    """Batches stay within the limits, except that a single item may exceed the token budget."""
    batch = next_batch(waiting, limits, NOW_S)
    assert bool(batch) == bool(waiting)
    assert len(set(map(id, batch))) == len(batch)
    assert all(any(item is other for other in waiting) for item in batch)
    assert len(batch) <= limits.max_items
    if len(batch) > 1:
        assert max(item.length for item in batch) * len(batch) <= limits.max_padded_tokens


@settings(deadline=None)
@given(queues, limits)
def test_an_item_that_has_waited_beyond_the_bound_is_in_the_next_batch(
    waiting: list[Item], limits: BatchLimits
) -> None:
    batch = next_batch(waiting, limits, NOW_S)
    if waiting and NOW_S - waiting[0].enqueued_s >= limits.max_overtaken_s:
        assert any(item is waiting[0] for item in batch)


@settings(deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=40), limits)
def test_equal_lengths_are_never_mixed(lengths: list[int], limits: BatchLimits) -> None:
    """Where a graph would read padding there is none: every batch has items of one length."""
    batch = next_batch(queue_of(lengths, [0.0] * 40), replace(limits, equal_lengths=True), NOW_S)
    assert len({item.length for item in batch}) == 1


@settings(deadline=None)
@given(queues, limits)
def test_everything_is_answered_in_the_end(waiting: list[Item], limits: BatchLimits) -> None:
    """Taking batches until the queue is empty takes each item exactly once."""
    rest, taken = list(waiting), []
    while rest:
        batch = next_batch(rest, limits, NOW_S)
        taken += batch
        rest = [item for item in rest if not any(item is chosen for chosen in batch)]
    assert sorted(map(id, taken)) == sorted(map(id, waiting))


def test_near_lengths_share_a_batch() -> None:
    waiting = [Item(10), Item(100), Item(11), Item(10), Item(90)]
    assert [item.length for item in next_batch(waiting, BatchLimits(), NOW_S)] == [10, 10, 11]


def test_equal_lengths_share_a_batch() -> None:
    """Items of one length run together although others wait between them, and those next to them are left out."""
    waiting = [Item(10), Item(9), Item(10), Item(11), Item(10)]
    batch = next_batch(waiting, BatchLimits(equal_lengths=True), NOW_S, run_tokens=1e6)
    assert [item.length for item in batch] == [10, 10, 10]


def test_a_run_that_costs_more_than_its_tokens_makes_larger_batches() -> None:
    """A little padding costs less than one more run of a fast graph; otherwise lengths are kept apart."""
    waiting = [Item(length) for length in (5, 5, 6, 8, 9, 9)]
    assert len(next_batch(waiting, BatchLimits(), NOW_S)) < len(waiting)
    assert next_batch(waiting, BatchLimits(), NOW_S, run_tokens=50.0) == waiting


def test_of_equal_lengths_all_that_fit_go_the_older_first() -> None:
    waiting = [Item(5) for _ in range(4)]
    assert next_batch(waiting, BatchLimits(max_items=3), NOW_S) == waiting[:3]


def test_a_flood_of_short_items_cannot_starve_a_long_one() -> None:
    """A long item is batched in time although short items arrive faster than they are run."""
    limits = BatchLimits(max_items=8, max_overtaken_s=0.1)
    long_item = Item(400, enqueued_s=0.0)
    waiting, now_s = [long_item], 0.0
    while long_item in waiting:
        waiting += [Item(4, enqueued_s=now_s) for _ in range(16)]
        batch = next_batch(waiting, limits, now_s)
        waiting = [item for item in waiting if item not in batch]
        now_s += 0.005
        assert now_s <= limits.max_overtaken_s + 0.005 + 1e-9


def test_mixed_traffic_is_padded_by_less_than_a_tenth() -> None:
    """Padding is below a tenth for log-normal lengths from 64 closed-loop clients."""
    rng = random.Random(1)
    limits, now_s, useful, padded = BatchLimits(max_items=16), 0.0, 0, 0
    waiting: list[Item] = []
    for _ in range(300):
        arriving = 64 - len(waiting)
        lengths = [min(120, max(1, round(rng.lognormvariate(2.8, 0.6)))) for _ in range(arriving)]
        waiting += [Item(length, now_s) for length in lengths]
        batch = next_batch(waiting, limits, now_s)
        longest = max(item.length for item in batch)
        useful += sum(item.length for item in batch)
        padded += longest * len(batch)
        now_s += 25e-6 * longest * (len(batch) + 1.2)
        waiting = [item for item in waiting if item not in batch]
    assert 1.0 - useful / padded < 0.1


def test_cancelled_and_expired_items_are_left_out() -> None:
    live, expired, cancelled = Item(1), Item(2, deadline_s=1.0), Item(3, is_cancelled=True)
    assert split_expired([live, expired, cancelled], now_s=1.0) == ([live], [expired])


def test_padding_ratio_is_the_share_of_padding() -> None:
    assert padding_ratio([4, 4]) == 0.0
    assert padding_ratio([1, 3]) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("due", "others", "expected"), [(3, 500, [3]), (3, 60, [3, 60, 60, 60]), (400, 500, [400, 500])]
)
def test_an_item_that_is_due_is_in_the_next_batch_and_not_padded_to_much_longer_ones(
    due: int, others: int, expected: list[int]
) -> None:
    waiting = [Item(due), *(Item(others, NOW_S - 0.01) for _ in range(3))]
    limits = BatchLimits(max_padded_tokens=1000, max_overtaken_s=1.0)
    assert [item.length for item in next_batch(waiting, limits, NOW_S, is_first_due=True)] == expected
