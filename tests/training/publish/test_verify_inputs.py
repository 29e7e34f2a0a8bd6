"""VerificationInputs produces valid inputs with difficult edge cases."""

from __future__ import annotations

import numpy as np
import pytest

from service.bundle.manifest import GraphSpec, TensorSpec
from training.publish.verify_inputs import BATCH_AND_TIME_SIZES, VerificationInputs, axes_of, chunk_of, row_alone

SPEC = GraphSpec(
    file="tagger.onnx",
    inputs=(
        TensorSpec(name="words", dtype="int64", shape=("batch", "time")),
        TensorSpec(name="characters", dtype="int64", shape=("batch", "time", "chars")),
        TensorSpec(name="lengths", dtype="int64", shape=("batch",)),
        TensorSpec(name="hidden", dtype="float32", shape=(2, "batch", 3)),
    ),
    outputs=(),
)
LIMITS = {"words": 9, "characters": 5}


@pytest.mark.parametrize("seed", range(5))
def test_ids_are_valid_inside_and_zero_outside(seed: int) -> None:
    """Ids are below the vocabulary size; padding is zero exactly beyond each length; one row is full."""
    for feeds in VerificationInputs(LIMITS, seed).all_sizes(SPEC):
        words, characters, lengths = feeds["words"], feeds["characters"], feeds["lengths"]
        inside = np.arange(words.shape[1]) < lengths[:, None]
        assert lengths.max() == words.shape[1]
        assert lengths.min() >= 1
        assert np.array_equal(words > 0, inside)
        assert np.array_equal(characters[..., 0] > 0, inside)
        assert words.max() < LIMITS["words"]
        assert characters.max() < LIMITS["characters"]


def test_several_sizes_are_tried() -> None:
    """Batches have one row or several, one step or many, and rows of unequal length."""
    sizes = [axes_of(SPEC, feeds) for feeds in VerificationInputs(LIMITS).all_sizes(SPEC)]
    assert [(axes["batch"], axes["time"]) for axes in sizes] == list(BATCH_AND_TIME_SIZES)
    assert len({length for feeds in VerificationInputs(LIMITS).all_sizes(SPEC) for length in feeds["lengths"]}) > 3


def test_a_row_alone_has_no_padding() -> None:
    """A single row is cut to its own words and its longest word; state keeps its layers and width."""
    feeds = VerificationInputs(LIMITS).feeds(SPEC, batch=4, time=9, characters=12)
    for row, length in enumerate(int(length) for length in feeds["lengths"]):
        alone = row_alone(SPEC.inputs, feeds, row, length)
        assert alone["words"].shape == (1, length)
        assert alone["words"].all()
        assert alone["characters"][..., -1].any()
        assert alone["hidden"].shape == (2, 1, 3)
        assert np.array_equal(alone["hidden"][:, 0], feeds["hidden"][:, row])


def test_chunks_cut_every_row_at_its_own_place() -> None:
    """Each chunk has each row's next steps, zero-padded to the longest; concatenated they equal the rows."""
    probes = VerificationInputs(LIMITS)
    whole = probes.feeds(SPEC, batch=4, time=9, characters=3)
    lengths = whole["lengths"]
    rows, done = np.arange(4), np.zeros_like(lengths)
    read: list[list[int]] = [[], [], [], []]
    while rows.size:
        sizes = probes.chunk_sizes((lengths - done)[rows])
        chunk = chunk_of(SPEC, whole, rows, done[rows], sizes)
        assert chunk.keys() == {"words", "characters", "lengths"}
        assert np.array_equal(chunk["words"] > 0, np.arange(sizes.max()) < sizes[:, None])
        for index, row in enumerate(rows):
            read[row] += chunk["words"][index, : sizes[index]].tolist()
        done[rows] += sizes
        rows = np.flatnonzero(done < lengths)
    assert read == [whole["words"][row, :length].tolist() for row, length in enumerate(lengths)]


def test_the_same_seed_gives_the_same_feeds() -> None:
    """The same seed gives the same inputs."""
    first, second = (VerificationInputs(LIMITS, seed=3).feeds(SPEC, batch=2, time=4, characters=3) for _ in range(2))
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_probes_of_readings_are_near_usual_ones() -> None:
    """Rows of numbers differ from the typical reading by less than each number's deviation over time."""
    usual = np.stack([1013 + np.arange(4.0), np.zeros(4)], axis=1).astype(np.float32)
    spec = GraphSpec(file="x", inputs=(TensorSpec(name="frames", dtype="float32", shape=("batch", 4, 2)),), outputs=())
    frames = VerificationInputs({}, typical={"frames": usual}).feeds(spec, batch=3, time=1)["frames"]
    assert frames.shape == (3, 4, 2)
    assert frames.dtype == np.float32
    distance = np.abs(frames - usual)
    assert 0 < distance[:, :, 0].max() <= usual[:, 0].std() + 1e-3
    assert not np.array_equal(frames[0], frames[1])
    assert distance[:, :, 1].max() == 0
