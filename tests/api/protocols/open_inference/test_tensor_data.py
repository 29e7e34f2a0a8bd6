"""Data of tensors as raw bytes and as JSON: what is sent comes back, and what does not fit is refused by a sentence."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from service.api.protocols.open_inference.tensors.messages import DTYPES, Tensor, texts
from service.api.protocols.open_inference.tensors.tensor_data import (
    bytes_of,
    json_of,
    tensor_of_bytes,
    tensor_of_json,
)
from service.errors import InvalidInput
from tests.api.protocols.open_inference.requests import raw_texts

MANY = 1 << 16


def of_bytes(raw: bytes, datatype: str, *shape: int) -> Tensor:
    return tensor_of_bytes("x", datatype, shape, memoryview(raw), MANY)


def of_json(data: Any, datatype: str, *shape: int) -> Tensor:
    return tensor_of_json("x", datatype, shape, data, MANY)


@given(st.lists(st.binary(max_size=8), min_size=1, max_size=8))
def test_elements_of_bytes_come_back(elements: list[bytes]) -> None:
    raw = raw_texts(*elements)
    found = of_bytes(raw, "BYTES", len(elements))
    assert found.elements == elements
    assert bytes_of(found) == raw


@given(st.data(), st.sampled_from([name for name in DTYPES if name != "BF16"]))
def test_numbers_come_back_as_bytes_and_as_json(data: st.DataObject, datatype: str) -> None:
    shape = data.draw(arrays.array_shapes(max_dims=3, max_side=4))
    array = data.draw(arrays.arrays(DTYPES[datatype], shape))
    found = of_bytes(array.tobytes(), datatype, *shape)
    assert found.array.tobytes() == bytes_of(found) == array.tobytes()
    if array.dtype.kind != "f" or np.isfinite(array).all():
        assert of_json(list(json_of(found)), datatype, *shape).array.tobytes() == array.tobytes()
        assert of_json(array.tolist(), datatype, *shape).array.tobytes() == array.tobytes()


def test_bf16_is_the_upper_half_of_a_float() -> None:
    assert of_bytes(bytes.fromhex("803f 40c0".replace(" ", "")), "BF16", 2).array.tolist() == [1.0, -3.0]


def test_lists_of_an_answer_are_written_like_arrays() -> None:
    assert bytes_of(Tensor("x", "FP32", (2,), [0.5, 1])) == struct.pack("<2f", 0.5, 1)
    assert bytes_of(Tensor("x", "INT64", (1, 2), [3, -1])) == struct.pack("<2q", 3, -1)
    assert bytes_of(texts("x", ["é", ""])) == raw_texts("é".encode(), b"")
    assert Tensor("x", "INT64", (1, 2), [3, -1]).array.tolist() == [[3, -1]]


@pytest.mark.parametrize(
    ("raw", "datatype", "shape", "sentence"),
    [
        (b"", "BYTES", (0,), "no elements"),
        (b"1234", "FP32", (-1,), "negative size"),
        (b"1234", "FP32", (2,), r"FP32 \[2\] has 8 bytes, it was sent with 4"),
        (b"1234", "FP32", (2**31, 2**31), "more bytes than any request"),
        (b"1234", "FP32", (10**30,), "a number of more than 18 digits"),
        (b"1234", "FP31", (1,), "there is no datatype 'FP31'; there are: BOOL"),
        (b"\1\0", "BYTES", (1,), "end before element 0"),
        (
            struct.pack("<I", 2**32 - 1) + b"ab",
            "BYTES",
            (1,),
            "has 4294967295 bytes, and 2 bytes are left",
        ),
        (struct.pack("<i", -2) + b"ab", "BYTES", (1,), "says that it has 4294967294 bytes"),
        (raw_texts(b"ab") + b"c", "BYTES", (1,), "1 bytes follow"),
        (raw_texts(b"ab"), "BYTES", (2,), "end before element 1 of 2"),
        (raw_texts(b"ab"), "BYTES", (2**31,), "at most 65536 are read"),
    ],
)
def test_raw_bytes_that_do_not_fit_are_refused(
    raw: bytes, datatype: str, shape: tuple[int, ...], sentence: str
) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        of_bytes(raw, datatype, *shape)


@pytest.mark.parametrize(
    ("data", "datatype", "shape", "sentence"),
    [
        (["a"], "BYTES", (2**31,), r"has 2147483648 elements, the data 1"),
        (["a"], "BYTES", (2**40, 2**40), "more than 2"),
        ([], "BYTES", (1,), "has 1 elements, the data 0"),
        ([["a"], "b"], "BYTES", (2, 1), "not every list of axis 1 has 1 elements"),
        ([["a", "b"], ["c"]], "BYTES", (2, 2), "not every list of axis 1 has 2 elements"),
        ([[["a"]]], "BYTES", (1,), "element 0 is a list"),
        ([1], "BYTES", (1,), "element 0 is a number, which is no BYTES"),
        ([None], "FP32", (1,), "element 0 is null"),
        (["1"], "INT64", (1,), "element 0 is a text"),
        ([1, 2.5], "INT64", (2,), "element 1 is a number with a fraction"),
        ([True], "INT64", (1,), "element 0 is true or false"),
        ([2], "BOOL", (1,), "element 0 is a number, which is no BOOL"),
        ([2**63], "INT64", (1,), "outside of the range of INT64"),
        ([-1], "UINT8", (1,), "outside of the range of UINT8"),
        (["\ud800"], "BYTES", (1,), "surrogate"),
        ([1], "int64", (1,), "there is no datatype"),
    ],
)
def test_json_that_does_not_fit_is_refused(data: Any, datatype: str, shape: tuple[int, ...], sentence: str) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        of_json(data, datatype, *shape)


def test_numbers_that_json_has_not_are_sent_as_bytes_only() -> None:
    tensor = Tensor("x", "FP32", (2,), np.array([1, np.nan], np.float32))
    assert bytes_of(tensor) == struct.pack("<2f", 1, np.nan)
    with pytest.raises(InvalidInput, match="ask for binary data"):
        json_of(tensor)
