"""Arrays of requests: what is read, and what is refused with its path."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from service.bundle.load import load_bundle
from service.errors import InvalidInput
from service.tasks.core.task import PredictInput, Tensors
from service.tasks.tensors.tensors import TensorsParameters, TensorsTask
from tests.tasks.tensors.tiny_tensors import FIXED, MAX_STEPS, NUM_IDS, WIDTH, sample, write_tensors_bundle

ROW = [0.5] * WIDTH
FEW = [ROW, ROW]


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TensorsTask]:
    root = tmp_path_factory.mktemp("models")
    kinds = ("masked", "labels", "several", "fixed")
    return {kind: TensorsTask(load_bundle(write_tensors_bundle(root, kind))) for kind in kinds}


def read(task: TensorsTask, value: PredictInput) -> dict[str, Any]:
    return dict(task.preprocess(value, TensorsParameters()).arrays)


def refusal(task: TensorsTask, value: PredictInput) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        read(task, value)
    return caught.value


@pytest.mark.parametrize("kind", ["masked", "labels", "several", "fixed"])
def test_lists_and_arrays_are_read_alike(kind: str, tasks: dict[str, TensorsTask]) -> None:
    """Nested lists and arrays of wider dtypes give the same arrays, of the dtypes of the graph."""
    lists = sample(kind, 6)
    found = read(tasks[kind], Tensors(lists))
    again = read(tasks[kind], Tensors({name: np.array(value) for name, value in lists.items()}))
    for name, value in lists.items():
        wanted = {"tokens": np.int64, "pixels": np.uint8}.get(name, np.float32)
        assert found[name].dtype == again[name].dtype == wanted
        assert np.array_equal(found[name], np.array(value, dtype=wanted))
        assert np.array_equal(again[name], found[name])


def test_whole_numbers_are_read_as_floats(tasks: dict[str, TensorsTask]) -> None:
    """JSON does not tell 1 from 1.0, so both are numbers of a float input."""
    assert np.array_equal(read(tasks["masked"], Tensors({"x": [[1, 2.5, -3]]}))["x"], np.float32([[1, 2.5, -3]]))


NAMES = [
    ({}, ("tensors",), "x is missing; the inputs are: x float32 [time, 3]"),
    ({"x": FEW, "y": 1}, ("tensors", "y"), "there is no such input; there are: x float32 [time, 3]"),
    ({"x": FEW, "lengths": [2]}, ("tensors", "lengths"), "there is no such input"),
]
SHAPES = [
    ([], ("tensors", "x"), "no steps, and at least one"),
    ([[]], ("tensors", "x", 0), "axis 1 has size 0 and not 3"),
    ([ROW, [1.0]], ("tensors", "x", 1), "this list has length 1, the first one beside it 3"),
    ([[1.0, 2.0], [1.0, 2.0]], ("tensors", "x", 0), "axis 1 has size 2 and not 3"),
    (1.5, ("tensors", "x"), "this is the number 1.5, here belongs a list; this input takes float32 [time, 3]"),
    ([1.0, 2.0, 3.0], ("tensors", "x", 0), "here belongs a list"),
    ([FEW, FEW], ("tensors", "x", 0), "axis 1 has size 2 and not 3"),
    ([[ROW, ROW, ROW]], ("tensors", "x", 0, 0), "this is a list, here belongs a number"),
    ({"a": 1}, ("tensors", "x"), "this is an object, here belongs a list"),
    ([ROW] * (MAX_STEPS + 1), ("tensors", "x"), "41 steps, this model takes at most 40"),
]
NUMBERS = [
    ("0.5", "this is the text '0.5', here belongs a number"),
    (None, "this is null"),
    (True, "this is true, here belongs a number"),
    (math.nan, "this number is nan, allowed are -1.845e+19 to 1.845e+19"),
    (math.inf, "this number is inf"),
    (1e30, "this number is 1e+30"),
    (10**400, "this number, an integer of 1329 bits, does not fit 32 bits"),
]


@pytest.mark.parametrize(("arrays", "path", "message"), NAMES)
def test_names_must_be_those_of_the_graph(
    arrays: dict[str, Any], path: tuple[str, ...], message: str, tasks: dict[str, TensorsTask]
) -> None:
    """A missing or unknown array is refused with all inputs of the model; lengths are not sent."""
    error = refusal(tasks["masked"], Tensors(arrays))
    assert error.field == path
    assert message in error.message


@pytest.mark.parametrize(("value", "path", "message"), SHAPES)
def test_shapes_are_checked(
    value: Any, path: tuple[str | int, ...], message: str, tasks: dict[str, TensorsTask]
) -> None:
    """Empty, ragged, too deep, too flat and too long lists are refused where they begin to be wrong."""
    error = refusal(tasks["masked"], Tensors({"x": value}))
    assert error.field == path
    assert message in error.message


@pytest.mark.parametrize(("value", "message"), NUMBERS)
def test_numbers_are_checked(value: Any, message: str, tasks: dict[str, TensorsTask]) -> None:
    """What is no number, or none that can be computed with, is refused with its place."""
    error = refusal(tasks["masked"], Tensors({"x": [ROW, [0.0, value, 0.0]]}))
    assert error.field == ("tensors", "x", 1, 1)
    assert message in error.message


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (NUM_IDS, "this number is 7, allowed are 0 to 6"),
        (-1, "this number is -1"),
        (1.0, "this is the number 1, here belongs a whole number"),
        (2**63, "an integer of 64 bits, does not fit 64 bits"),
    ],
)
def test_ids_stay_within_the_bounds_of_the_bundle(value: Any, message: str, tasks: dict[str, TensorsTask]) -> None:
    """Whole numbers are whole, of 64 bits, and within the bounds that the bundle notes."""
    error = refusal(tasks["labels"], Tensors({"tokens": [0, value]}))
    assert error.field == ("tensors", "tokens", 1)
    assert message in error.message


@pytest.mark.parametrize("value", [256, -1])
def test_bytes_are_bytes(value: int, tasks: dict[str, TensorsTask]) -> None:
    """A number beyond uint8 is refused, and not wrapped around."""
    arrays = sample("several", 2) | {"pixels": [[0, 0, 0, 0], [0, 0, 0, value]]}
    assert refusal(tasks["several"], Tensors(arrays)).field == ("tensors", "pixels", 1, 3)


def test_inputs_over_time_agree(tasks: dict[str, TensorsTask]) -> None:
    """Inputs of different lengths are refused, and the message names both."""
    arrays = sample("several", 3) | {"pixels": [[0, 0, 0, 0]] * 2}
    error = refusal(tasks["several"], Tensors(arrays))
    assert error.field == ("tensors", "pixels")
    assert "it has 2 steps, x has 3" in error.message


def test_a_fixed_length_is_kept(tasks: dict[str, TensorsTask]) -> None:
    """A graph of one length takes no other."""
    error = refusal(tasks["fixed"], Tensors({"x": [ROW] * (FIXED + 1)}))
    assert "axis 0 has size 6 and not 5; this input takes float32 [5, 3]" in error.message


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, WIDTH, 1)), "the shape is [2, 3, 1], this input takes float32 [time, 3]"),
        (np.zeros((0, WIDTH)), "there are no steps"),
        (np.zeros((2, WIDTH), dtype=bool), "the numbers are bool"),
        (np.array([["a"] * WIDTH]), "the numbers are <U1"),
        (np.full((1, WIDTH), np.inf, dtype=np.float16), "this number is inf"),
    ],
)
def test_arrays_are_checked_too(array: Any, message: str, tasks: dict[str, TensorsTask]) -> None:
    """Arrays that a protocol has read are held to the same forms as lists."""
    assert message in refusal(tasks["masked"], Tensors({"x": array})).message


def test_other_inputs_are_refused_with_the_form_that_is_taken(tasks: dict[str, TensorsTask]) -> None:
    """A text is refused, and the message shows what to send."""
    error = refusal(tasks["several"], "hello")
    assert 'this model takes named arrays as {"tensors": {"x": ...}}, not text' in error.message
    assert "pixels uint8 [time, 4], context float32 [2], rate float32 []" in error.message


def test_a_number_stands_for_an_array_without_axes(tasks: dict[str, TensorsTask]) -> None:
    """An input of none but the batch axis is a plain number."""
    assert read(tasks["several"], Tensors(sample("several", 2)))["rate"].shape == ()
    arrays = sample("several", 2) | {"rate": [2.0]}
    assert "this is a list, here belongs a number" in refusal(tasks["several"], Tensors(arrays)).message


def test_deep_lists_cost_nothing(tasks: dict[str, TensorsTask]) -> None:
    """Lists within lists are opened no deeper than the form goes."""
    deep: Any = [0.0]
    for _ in range(100_000):
        deep = [deep]
    assert refusal(tasks["masked"], Tensors({"x": deep})).field == ("tensors", "x", 0)
