"""The edges of a graph in the normal form of bundles: batch first, then time; int64, float32 and uint8; plain names.

What a model declares otherwise is converted inside of the graph, by a Cast and a Transpose.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from service.bundle.manifest import LENGTHS, MAX_NAME_CHARACTERS, RESERVED_NAMES, Dtype, TensorSpec
from training.importing.graph.axes import Foreign
from training.importing.graph.edited_graph import EditedGraph
from training.importing.graph.probing import BATCH, TIME, Label, Opened
from training.importing.graph.source import ImportRefused

#: Recorded for inputs whose numbers a bundle takes as another type.
_EDGE_TYPES: dict[Dtype, int] = {
    "int64": TensorProto.INT64,
    "float32": TensorProto.FLOAT,
    "uint8": TensorProto.UINT8,
}


@dataclass(frozen=True)
class Edge:
    """One input or output of the bundle and of the original.

    Attributes:
        spec: the tensor in the bundle.
        source: its name in the original.
        perm: axes of the original in the order of the bundle.
        dtype: the original's numbers.
        flat: for an output with the steps of all rows in its first axis how they follow, see `Foreign.flat`.
    """

    spec: TensorSpec
    source: str
    perm: tuple[int, ...]
    dtype: Any
    flat: str = ""


@dataclass(frozen=True)
class Edges:
    """All inputs and outputs that callers see, and sentences on outputs that had to be left out."""

    inputs: tuple[Edge, ...]
    outputs: tuple[Edge, ...]
    notes: tuple[str, ...] = ()


def write_edges(foreign: Foreign, outputs: list[str]) -> Edges:
    """Bring inputs and the named outputs into the normal form. Raises ImportRefused where an input cannot be."""
    graph = foreign.graph
    kept = [name for name in graph.inputs if name in foreign.source and name not in foreign.state]
    before = set(graph.inputs) - set(kept)
    inputs = [_write_input(foreign, name, before) for name in kept]
    found, notes = list[Edge](), list[str]()
    values = Opened(graph.model()).run(_feeds(foreign))
    taken = {edge.spec.name for edge in inputs} | before
    for name in outputs:
        labels = _output_labels(foreign, name)
        if foreign.flat.get(name):
            found.append(_write_flat_output(foreign, name, values[name].dtype, taken, inputs))
            continue
        if labels is None or BATCH not in labels:
            axes = list(foreign.labels.get(name, ()))
            notes.append(f"the output {name!r} is left out: its axes {axes} are not [batch, ...] or [batch, time, ...]")
            continue
        found.append(_write_output(foreign, name, labels, values[name].dtype, taken))
    if not found:
        raise ImportRefused(f"no output is left that has one row for each input: {'; '.join(notes)}")
    return Edges(tuple(inputs), tuple(found), tuple(notes))


def _feeds(foreign: Foreign) -> dict[str, np.ndarray]:
    """Inputs of one row, in the names of the bundle, for the types of the outputs."""
    steps = foreign.fixed_steps or 2
    sizes: dict[Label, int] = {BATCH: 1, TIME: steps}
    feeds = {}
    for value in foreign.graph.graph.input:
        shape = [dim.dim_value or sizes[dim.dim_param] for dim in value.type.tensor_type.shape.dim]
        dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        feeds[value.name] = np.full(shape, steps if value.name == LENGTHS else 0, dtype=dtype)
    return feeds


def _write_input(foreign: Foreign, name: str, taken: set[str]) -> Edge:
    graph, one = foreign.graph, foreign.source[name]
    labels = foreign.labels[name]
    perm = _normal_order(labels)
    if BATCH not in labels or labels.count(BATCH) > 1 or labels.count(TIME) > 1:
        raise ImportRefused(
            f"the input {name!r} has the axes {list(labels)}: a bundle's inputs have one row for each request, so that "
            f"one axis must be the batch. Name the axes with --axes {name}=batch,..."
        )
    dtype: Dtype = "float32" if one.is_float else ("uint8" if one.dtype in (np.uint8, np.bool_) else "int64")
    steps: Label = foreign.fixed_steps or TIME
    shape = tuple(steps if labels[place] == TIME else labels[place] for place in perm)
    spec = TensorSpec(name=_plain_name(name, taken), dtype=dtype, shape=shape)
    if name == foreign.lengths:
        spec = TensorSpec(name=LENGTHS, dtype="int64", shape=(BATCH,))
    inner = graph.new_name("edge")
    graph.rename_input(name, inner)
    graph.clear_name(spec.name)
    _declare(graph, inner, spec)
    value = spec.name
    if perm != tuple(range(len(perm))):
        value = graph.add("Transpose", value, perm=[perm.index(place) for place in range(len(perm))])
    if helper.np_dtype_to_tensor_dtype(np.dtype(one.dtype)) != _EDGE_TYPES[spec.dtype]:
        value = graph.add("Cast", value, to=helper.np_dtype_to_tensor_dtype(np.dtype(one.dtype)))
    graph.redirect(inner, value)
    foreign.labels[spec.name] = tuple(spec.shape)
    return Edge(spec, name, perm, one.dtype)


def _declare(graph: EditedGraph, name: str, spec: TensorSpec) -> None:
    """Let an input of the graph be declared as the bundle has it."""
    for index, value in enumerate(graph.graph.input):
        if value.name == name:
            declared = helper.make_tensor_value_info(spec.name, _EDGE_TYPES[spec.dtype], list(spec.shape))
            graph.graph.input[index].CopyFrom(declared)


def _output_labels(foreign: Foreign, name: str) -> tuple[Label, ...] | None:
    """What the axes of an output count; None where they are no axes of a bundle."""
    labels = foreign.labels.get(name, ())
    sizes = [label for label in labels if label not in (BATCH, TIME)]
    is_plain = all(isinstance(label, int) for label in sizes)
    return labels if is_plain and labels.count(BATCH) == 1 and labels.count(TIME) <= 1 else None


def _write_output(foreign: Foreign, name: str, labels: tuple[Label, ...], dtype: Any, taken: set[str]) -> Edge:
    graph, perm, kind = foreign.graph, _normal_order(labels), _kind(dtype)
    spec = TensorSpec(name=_plain_name(name, taken), dtype=kind, shape=tuple(labels[place] for place in perm))
    value = name
    if perm != tuple(range(len(perm))):
        value = graph.add("Transpose", value, perm=list(perm))
    value = graph.add("Cast", value, to=_EDGE_TYPES[kind])
    _rename_value(graph, value, spec.name)
    return Edge(spec, name, perm, dtype)


def _kind(dtype: Any) -> Dtype:
    """What a bundle gives an output's numbers as."""
    return "float32" if np.issubdtype(dtype, np.floating) else ("uint8" if dtype == np.uint8 else "int64")


def _write_flat_output(foreign: Foreign, name: str, dtype: Any, taken: set[str], inputs: list[Edge]) -> Edge:
    """An output with the steps of all rows in one axis, as `[batch, time, ...]`."""
    graph, order, kind = foreign.graph, foreign.flat[name], _kind(dtype)
    rest = [label for label in foreign.labels[name][1:] if isinstance(label, int)]
    steps: Label = foreign.fixed_steps or TIME
    spec = TensorSpec(name=_plain_name(name, taken), dtype=kind, shape=(BATCH, steps, *rest))
    over_time = next((edge.spec.name for edge in inputs if TIME in edge.spec.shape), "")
    count = graph.integers(steps) if isinstance(steps, int) else _steps_of(graph, over_time)
    sizes = [graph.integers(-1), count] if order == BATCH else [count, graph.integers(-1)]
    value = graph.add("Reshape", name, graph.add("Concat", *sizes, graph.integers(*rest), axis=0))
    if order == TIME:
        value = graph.add("Transpose", value, perm=[1, 0, *range(2, 2 + len(rest))])
    _rename_value(graph, graph.add("Cast", value, to=_EDGE_TYPES[kind]), spec.name)
    return Edge(spec, name, tuple(range(2 + len(rest))), dtype, order)


def _steps_of(graph: EditedGraph, name: str) -> str:
    """The number of steps of an input of the bundle, int64 `[1]`."""
    return graph.add("Gather", graph.add("Shape", name), graph.integers(1), axis=0)


def _rename_value(graph: EditedGraph, value: str, name: str) -> None:
    """Let a new node's value have the name of an output; another value of that name gives way."""
    node = graph.producer(value)
    assert node is not None
    graph.clear_name(name)
    node.output[0] = name


def declare_outputs(graph: EditedGraph, specs: list[TensorSpec]) -> None:
    """Let the graph have these outputs and no others."""
    del graph.graph.output[:]
    for spec in specs:
        graph.graph.output.append(helper.make_tensor_value_info(spec.name, _EDGE_TYPES[spec.dtype], list(spec.shape)))


def declare_inputs(graph: EditedGraph, specs: list[TensorSpec]) -> None:
    """Let the graph list these inputs in this order."""
    del graph.graph.input[:]
    for spec in specs:
        graph.graph.input.append(helper.make_tensor_value_info(spec.name, _EDGE_TYPES[spec.dtype], list(spec.shape)))


def _normal_order(labels: tuple[Label, ...]) -> tuple[int, ...]:
    """Axes in the order batch, time, others."""
    first = [place for label in (BATCH, TIME) for place, each in enumerate(labels) if each == label]
    return (*first, *(place for place in range(len(labels)) if place not in first))


def _plain_name(name: str, taken: set[str]) -> str:
    """A name that callers can write: without the output number of TensorFlow and the paths of scopes.

    One that means something else in requests gets an underscore; of one that is too long the end stays.
    """
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "_", name.removesuffix(":0")).strip("_") or "tensor"
    plain = plain[-MAX_NAME_CHARACTERS:]
    while plain in taken or plain in RESERVED_NAMES:
        plain = f"{plain}_"[-MAX_NAME_CHARACTERS:]
    taken.add(plain)
    return plain


def numbers_for(edge: Edge, array: np.ndarray) -> np.ndarray:
    """An input of the bundle as the original takes it."""
    inverse = [edge.perm.index(place) for place in range(len(edge.perm))]
    return np.ascontiguousarray(array.transpose(inverse)).astype(edge.dtype)


def numbers_of(edge: Edge, array: np.ndarray, rows: int) -> np.ndarray:
    """An output of the original for `rows` rows as the bundle gives it."""
    if edge.flat == BATCH:
        array = np.asarray(array).reshape(rows, -1, *array.shape[1:])
    elif edge.flat == TIME:
        array = np.asarray(array).reshape(-1, rows, *array.shape[1:]).swapaxes(0, 1)
    return np.asarray(array).transpose(edge.perm).astype(edge.spec.dtype)
