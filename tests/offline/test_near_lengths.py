"""Batches of similar length: every row once, little padding, bounded size."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.inference.scheduling.batch_policy import BatchLimits
from service.offline.answering.near_lengths import near_length_batches


@given(st.lists(st.integers(1, 400), max_size=300))
def test_every_row_is_in_one_batch_within_the_limits(lengths: list[int]) -> None:
    batches = near_length_batches(lengths, BatchLimits(max_padded_tokens=512))
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[index] for index in batch)
        assert len(batch) == 1 or longest * len(batch) <= 512


def test_rows_of_one_length_fill_batches_and_others_do_not_pad_them() -> None:
    batches = near_length_batches([3] * 100 + [90] * 3 + [3] * 28)
    assert [len(batch) for batch in batches] == [64, 64, 3]


def test_few_rows_of_different_lengths_share_a_batch_rather_than_run_alone() -> None:
    assert len(near_length_batches([10, 11, 12, 13])) == 1
