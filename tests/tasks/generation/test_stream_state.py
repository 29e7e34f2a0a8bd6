"""Serialization of stream states: round trips are exact, and invalid bytes are refused."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.bundle.manifest import StateSpec
from service.errors import StateRefused
from service.tasks.core.state_bytes import StateKind
from service.tasks.generation.stream_state import StreamState

VOCABULARY_SIZE = 70
#: Not in alphabetical order, which is the order of serialization.
SPECS = (
    StateSpec(name="hidden", next_name="next_hidden", layers=2, width=3),
    StateSpec(name="cell", next_name="next_cell", layers=2, width=5),
)
#: Offset of the details: after the header, two shapes and two tensors.
DETAILS_AT = 8 + 2 * 2 * 4 + (6 + 10) * 4
HEAD_BYTES = 37

#: No deadline, so that property tests do not fail on a busy machine.
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
ids = st.integers(0, VOCABULARY_SIZE - 1)
counts = st.dictionaries(ids, st.integers(1, 2**32 - 1), max_size=20)


def tensors(spec: StateSpec) -> st.SearchStrategy[Any]:
    size = spec.layers * spec.width
    return st.lists(finite, min_size=size, max_size=size).map(
        lambda values: np.array(values, dtype=np.float32).reshape(spec.layers, spec.width)
    )


streams = st.builds(
    StreamState,
    arrays=st.fixed_dictionaries({spec.name: tensors(spec) for spec in SPECS}),
    pending_token_id=ids,
    num_read=counts,
    num_produced=counts,
    num_drawn=st.integers(0, 2**64 - 1),
    seed=st.none() | st.integers(0, 2**64 - 1),
    context_ids=st.lists(ids, max_size=16).map(tuple),
    held_ids=st.lists(ids, max_size=8).map(tuple),
    text_tail=st.text(max_size=20),
)


def a_stream(**changes: Any) -> StreamState:
    plain = StreamState(
        arrays={spec.name: np.full((spec.layers, spec.width), 0.5, dtype=np.float32) for spec in SPECS},
        pending_token_id=7,
        num_read={5: 2, 7: 1},
        num_produced={7: 1},
        num_drawn=1,
        seed=11,
        context_ids=(5, 5, 7),
        held_ids=(9,),
        text_tail="en",
    )
    return replace(plain, **changes)


def read(data: bytes) -> StreamState:
    return StreamState.from_bytes(data, SPECS, VOCABULARY_SIZE)


def fields_of(stream: StreamState) -> Mapping[str, Any]:
    return {name: value for name, value in vars(stream).items() if name != "arrays"}


def assert_refused(data: bytes, why: str) -> None:
    with pytest.raises(StateRefused, match=why) as refused:
        read(data)
    assert refused.value.reason == "malformed"


@settings(PATIENT)
@given(streams)
def test_what_is_written_is_read_bit_for_bit(stream: StreamState) -> None:
    again = read(stream.to_bytes())
    assert fields_of(again) == fields_of(stream)
    assert list(again.arrays) == sorted(stream.arrays)
    for name, array in stream.arrays.items():
        assert again.arrays[name].tobytes() == array.tobytes()
        assert again.arrays[name].shape == array.shape


@settings(PATIENT)
@given(streams)
def test_equal_states_give_equal_bytes(stream: StreamState) -> None:
    """Serialization does not depend on the insertion order of tensors and counts."""
    shuffled = replace(
        stream,
        arrays=dict(reversed(stream.arrays.items())),
        num_read=dict(reversed(stream.num_read.items())),
    )
    assert shuffled.to_bytes() == stream.to_bytes()


def test_the_size_is_the_state_and_little_else() -> None:
    """Counts of 64 tokens add at most 1 KiB to the 8 KiB state of a 2x512 LSTM."""
    state = np.zeros((2, 512), dtype=np.float32)
    stream = a_stream(
        arrays={"hidden": state, "cell": state}, num_read=dict.fromkeys(range(64), 9), num_produced={5: 1}
    )
    assert len(stream.to_bytes()) - 2 * state.nbytes < 1024


@settings(PATIENT)
@given(streams, st.data())
def test_a_piece_of_a_state_is_refused(stream: StreamState, data: st.DataObject) -> None:
    whole = stream.to_bytes()
    assert_refused(whole[: data.draw(st.integers(0, len(whole) - 1))], "bytes")


@settings(PATIENT)
@given(streams, st.binary(min_size=1, max_size=40))
def test_trailing_bytes_are_refused(stream: StreamState, more: bytes) -> None:
    assert_refused(stream.to_bytes() + more, "bytes where their head asks for")


@settings(PATIENT, max_examples=300)
@given(streams, st.data())
def test_a_changed_byte_is_refused_or_means_another_state(stream: StreamState, data: st.DataObject) -> None:
    """A changed byte either raises StateRefused or yields a state that serializes to the changed bytes."""
    changed = bytearray(stream.to_bytes())
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        written_again = read(bytes(changed)).to_bytes()
    except StateRefused:
        return
    assert written_again == bytes(changed)


def test_a_state_of_another_version_or_kind_is_refused_by_name() -> None:
    """States of version 1 and states of chunked reading are refused with their version or kind."""
    whole = a_stream().to_bytes()
    assert_refused(whole[:4] + b"\1" + whole[5:], "another version of this service wrote it")
    assert_refused(whole[:5] + bytes([StateKind.CHUNK]) + whole[6:], "kind 2, this model reads states of kind 1")


@settings(PATIENT)
@given(st.binary(max_size=300))
def test_random_bytes_are_refused(data: bytes) -> None:
    assert_refused(data, "this is not a state of this model")


def test_lengths_in_the_header_are_not_believed() -> None:
    """A forged count of 2**32 - 1 entries is refused without allocating memory for them."""
    forged = bytearray(a_stream().to_bytes())
    struct.pack_into("<I", forged, DETAILS_AT + 21, 2**32 - 1)
    assert_refused(bytes(forged), "asks for")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"pending_token_id": VOCABULARY_SIZE}, "the token 70 is not one of this model's 70"),
        ({"context_ids": (1, VOCABULARY_SIZE)}, "the token 70"),
        ({"held_ids": (10**6,)}, "the token 1000000"),
        ({"num_read": {VOCABULARY_SIZE: 1}}, "counts"),
        ({"num_produced": {3: 0}}, "counts"),
        ({"arrays": {"hidden": np.zeros((2, 3), np.float32)}}, "1 tensors, this model has 2"),
        ({"arrays": {"hidden": np.zeros((2, 5), np.float32), "cell": np.zeros((2, 3), np.float32)}}, "shapes"),
        ({"arrays": {"hidden": np.zeros((2, 3), np.float32), "cell": np.full((2, 5), np.nan)}}, "'cell'.*not finite"),
        ({"arrays": {"hidden": np.full((2, 3), np.inf), "cell": np.zeros((2, 5), np.float32)}}, "'hidden'"),
    ],
)
def test_what_cannot_be_of_this_model_is_refused(changes: dict[str, Any], why: str) -> None:
    assert_refused(a_stream(**changes).to_bytes(), why)


def test_counts_in_another_order_are_refused() -> None:
    """Counts must be in ascending order without duplicates, so that each state has one serialization."""
    forged = bytearray(a_stream().to_bytes())
    start = DETAILS_AT + HEAD_BYTES
    assert struct.unpack_from("<4I", forged, start) == (5, 7, 2, 1)
    struct.pack_into("<2I", forged, start, 7, 7)
    assert_refused(bytes(forged), "ascending")


@pytest.mark.parametrize("changes", [{"seed": 2**64}, {"seed": -1}, {"held_ids": (-1,)}, {"num_read": {1: 2**32}}])
def test_numbers_that_do_not_fit_are_not_written(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="cannot be written"):
        a_stream(**changes).to_bytes()


def test_the_rows_of_a_batch_are_not_written() -> None:
    """A state with a batch axis is refused on writing, because it would be read back wrongly."""
    with pytest.raises(ValueError, match=r"\[layers, width\]"):
        a_stream(arrays={"hidden": np.zeros((2, 1, 3), np.float32)}).to_bytes()
