"""The normal form of a bundle of named arrays: which graphs a manifest may declare."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from service.bundle.manifest import GraphSpec, Manifest, StateSpec, TensorSpec
from service.bundle.task_options import TensorNote, TensorsOptions


def tensor(name: str, *shape: int | str, dtype: Any = "float32") -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, shape=shape)


X, Y = tensor("x", "batch", "time", 3), tensor("y", "batch", "time", 2)
LENGTHS = tensor("lengths", "batch", dtype="int64")


def manifest(
    inputs: tuple[TensorSpec, ...] = (X, LENGTHS),
    outputs: tuple[TensorSpec, ...] = (Y,),
    state: tuple[StateSpec, ...] = (),
    **options: Any,
) -> Manifest:
    return Manifest(
        name="arrays",
        task="tensors",
        options=TensorsOptions(**options),
        graphs={"model": GraphSpec(file="model.onnx", inputs=inputs, outputs=outputs)},
        state=state,
        tokenizers={},
    )


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"inputs": (X,), "equal_lengths": True},
        {"inputs": (X, tensor("context", "batch", 4), LENGTHS), "outputs": (Y, tensor("last", "batch", 5))},
        {"inputs": (tensor("x", "batch", 20, 3),), "outputs": (tensor("y", "batch", 20, 2),), "fixed_length": 20},
        {"inputs": (tensor("ids", "batch", "time", dtype="int64"), LENGTHS), "outputs": (tensor("score", "batch"),)},
    ],
)
def test_the_normal_form_is_accepted(arguments: dict[str, Any]) -> None:
    """Inputs and outputs with and without time, of fixed and of free length, make a manifest without state."""
    assert not manifest(**arguments).reads_chunks


def test_state_makes_chunks() -> None:
    """A graph with state reads its input in chunks; its tensors are those of the graph."""
    state = (StateSpec(name="h", next_name="h2", layers=1, width=4),)
    before, after = tensor("h", 1, "batch", 4), tensor("h2", 1, "batch", 4)
    assert manifest((X, LENGTHS, before), (Y, after), state).reads_chunks
    with pytest.raises(ValidationError, match="the state needs an output 'h2'"):
        manifest((X, LENGTHS, before), (Y,), state)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"inputs": (LENGTHS,)}, "needs an input and an output"),
        ({"inputs": (X,)}, "equal_lengths is for graphs over 'time' without 'lengths'"),
        ({"equal_lengths": True}, "equal_lengths is for graphs over 'time' without 'lengths'"),
        ({"outputs": (tensor("state", "batch", 2),)}, "no output may be called 'state'"),
        ({"outputs": (tensor("y" * 65, "batch", 2),)}, "no output may be called 'yyy"),
        ({"inputs": (tensor("x", "time", "batch", 3), LENGTHS)}, r"the input 'x' is \['time', 'batch', 3\]"),
        ({"inputs": (tensor("x", 1, "time", 3), LENGTHS)}, "the input 'x' is"),
        ({"inputs": (tensor("x", "batch", 3, "time"), LENGTHS)}, "the input 'x' is"),
        ({"outputs": (tensor("y", "batch", "steps", 2),)}, "the output 'y' is"),
        ({"inputs": (X, tensor("lengths", "batch"))}, "must be int64"),
        ({"inputs": (tensor("x", "batch", 3),)}, "need an input over it"),
        ({"fixed_length": 20}, "fixed_length is for a graph without"),
        ({"notes": {"z": TensorNote(description="nothing")}}, r"notes on \['z'\]"),
    ],
)
def test_other_graphs_are_refused(arguments: dict[str, Any], message: str) -> None:
    """Each departure from the normal form is refused, and the message names it."""
    with pytest.raises(ValidationError, match=message):
        manifest(**arguments)


def test_bounds_that_nothing_fits_are_refused() -> None:
    """The least number of an input is not above the largest."""
    with pytest.raises(ValidationError, match="no number is at least 3 and at most 2"):
        TensorNote(minimum=3, maximum=2)
