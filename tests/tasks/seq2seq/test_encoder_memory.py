"""Encoder memory: every row has the memory of its own sentence, with as few copies as possible."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from service.bundle.padding import IntArray
from service.tasks.core.task import Array
from service.tasks.seq2seq.encoder_memory import EncoderMemory


def encoded(numbers: list[int], lengths: list[int], padding: int = 0) -> tuple[dict[str, Array], IntArray]:
    """Encoder memory that encodes its sentence and time step; NaN beyond the length."""
    time = max(lengths) + padding
    memory = np.full((len(numbers), time, 2), np.nan, dtype=np.float32)
    for row, (number, length) in enumerate(zip(numbers, lengths, strict=True)):
        memory[row, :length] = [[number, step] for step in range(length)]
    return {"memory": memory, "memory_keys": -memory[..., :1]}, np.array(lengths)


def assert_rows(memory: EncoderMemory, owners: list[tuple[int, int]]) -> None:
    """Check that the feeds hold for each row the memory of its sentence `(number, length)`."""
    feeds = memory.feeds
    assert feeds["lengths"].tolist() == [length for _, length in owners]
    for row, (number, length) in enumerate(owners):
        expected = np.array([[number, step] for step in range(length)], dtype=np.float32)
        np.testing.assert_array_equal(feeds["memory"][row, :length], expected)
        np.testing.assert_array_equal(feeds["memory_keys"][row, :length], -expected[:, :1])
    assert all(feeds[name].flags.c_contiguous for name in feeds)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_rows_keep_the_memory_of_their_sentence(seed: int) -> None:
    """Rows keep their sentence's memory through random joins, leaves and beam growth, with unequal source lengths."""
    random = np.random.default_rng(seed)
    memory, owners = EncoderMemory(), list[tuple[int, int]]()
    for number in range(0, 60, 3):
        lengths = random.integers(1, random.choice([4, 12, 40]), size=random.integers(1, 4)).tolist()
        joining = list(zip(range(number, number + len(lengths)), lengths, strict=True))
        memory.join(*encoded([number for number, _ in joining], lengths, int(random.integers(0, 3))))
        owners += joining
        assert_rows(memory, owners)
        parents = random.choice(len(owners), size=random.integers(1, len(owners) + 3))
        after = [owners[parent] for parent in parents]
        moved = [row for row, owner in enumerate(after) if row >= len(owners) or owner != owners[row]]
        memory.rearrange(parents, np.array(moved, dtype=np.int64))
        owners = after
        assert_rows(memory, owners)


def test_nothing_lies_behind_the_end_of_a_successor() -> None:
    """A sentence that reuses the row of a longer one is padded with zeros, even over NaN."""
    memory = EncoderMemory()
    memory.join(
        {name: np.full((2, 8, 1), np.nan, dtype=np.float32) for name in ("memory", "memory_keys")}, np.array([8, 8])
    )
    memory.rearrange(np.array([1]), np.array([0]))
    memory.join({name: np.ones((1, 3, 1), dtype=np.float32) for name in ("memory", "memory_keys")}, np.array([3]))
    assert memory.feeds["memory"][1, :, 0].tolist() == [1, 1, 1, 0, 0, 0, 0, 0]


def test_memory_is_cut_to_about_the_longest_live_source() -> None:
    memory = EncoderMemory()
    memory.join(*encoded([0, 1, 2], [40, 39, 10]))
    memory.rearrange(np.array([1, 2]), np.array([0, 1]))
    assert memory.feeds["memory"].shape[1] == 40, "not worth a copy"
    memory.rearrange(np.array([1]), np.array([0]))
    assert memory.feeds["memory"].shape[1] == 10


def test_rows_that_change_places_within_a_sentence_cost_nothing() -> None:
    memory = EncoderMemory()
    memory.join(*encoded([0, 0], [5, 5]))
    before = memory.feeds
    memory.rearrange(np.array([1, 0]), np.empty(0, dtype=np.int64))
    assert memory.feeds is before
