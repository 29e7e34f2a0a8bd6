"""Runs of a graph with every value inside it as an output: shapes and numbers that no declaration tells.

The axis of a value that grows with the batch is the axis of the batch, and the one that grows with the number of steps
is that of time, however the operators between rearrange them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from service.inference.runtime.ort_runner import session_options  # sets its environment before onnxruntime is imported
from training.importing.graph.edited_graph import EditedGraph
from training.importing.graph.source import ImportRefused

import onnxruntime as ort  # isort: skip

Arrays = dict[str, NDArray[Any]]
#: What an axis counts: "batch", "time", "rows" for the steps of all rows in one axis, a fixed number, or "other".
Label = str | int
BATCH: Final = "batch"
TIME: Final = "time"
ROWS: Final = "rows"
OTHER: Final = "other"
#: Labels of axes along which steps lie.
OVER_TIME: Final = frozenset({TIME, ROWS, OTHER})
#: Sizes of batch and time in runs. No two of a pair are equal, so that their axes cannot be confused.
PROBES: Final = ((3, 11), (3, 13), (2, 11))
#: Numbers of one input along its axes of a fixed size: 1 GiB of float32.
_MAX_NUMBERS = 2**28
_SILENT = 4

_NUMPY_TYPES: dict[int, Any] = {
    TensorProto.FLOAT: np.float32,
    TensorProto.DOUBLE: np.float64,
    TensorProto.FLOAT16: np.float16,
    TensorProto.INT64: np.int64,
    TensorProto.INT32: np.int32,
    TensorProto.INT16: np.int16,
    TensorProto.INT8: np.int8,
    TensorProto.UINT8: np.uint8,
    TensorProto.UINT16: np.uint16,
    TensorProto.BOOL: np.bool_,
}


@dataclass(frozen=True)
class SourceInput:
    """An input as its file declares it. `dims`: a number, a name, or "" where nothing is said."""

    name: str
    dtype: Any
    dims: tuple[int | str, ...]

    @property
    def is_float(self) -> bool:
        return bool(np.issubdtype(self.dtype, np.floating))


def source_inputs(graph: EditedGraph) -> list[SourceInput]:
    """The inputs of a graph. Raises ImportRefused for one that is no array of numbers."""
    return [_source_input(value) for value in graph.graph.input]


def _source_input(value: onnx.ValueInfoProto) -> SourceInput:
    tensor = value.type.tensor_type
    if not value.type.HasField("tensor_type") or tensor.elem_type not in _NUMPY_TYPES:
        raise ImportRefused(f"the input {value.name!r} is no array of numbers")
    if not tensor.HasField("shape"):
        raise ImportRefused(f"the input {value.name!r} declares no axes: export it with its shape")
    dims = tuple(_size_or_name(dim) for dim in tensor.shape.dim)
    if prod(dim for dim in dims if isinstance(dim, int)) > _MAX_NUMBERS:
        raise ImportRefused(f"the input {value.name!r} is {list(dims)}; at most {_MAX_NUMBERS:,} numbers are taken")
    return SourceInput(value.name, _NUMPY_TYPES[tensor.elem_type], dims)


def _size_or_name(dim: onnx.TensorShapeProto.Dimension) -> int | str:
    """The size of an axis, or its name. torch writes a size that it has bound an axis to as a name, such as "4"."""
    if dim.HasField("dim_value"):
        return dim.dim_value if dim.dim_value > 0 else ""
    return int(dim.dim_param) if dim.dim_param.isdecimal() and int(dim.dim_param) > 0 else dim.dim_param


class Opened:
    """A graph in onnxruntime, as it is written: without optimisation, on one thread."""

    def __init__(self, model: onnx.ModelProto) -> None:
        """Raises RunRefused if onnxruntime does not take the model."""
        options = session_options(1)
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = _SILENT
        try:
            self._session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own exceptions share no base but Exception
            raise RunRefused(error) from error

    def run(self, feeds: Mapping[str, NDArray[Any]], names: Sequence[str] | None = None) -> Arrays:
        """Outputs by name. Raises RunRefused."""
        wanted = list(names) if names is not None else [value.name for value in self._session.get_outputs()]
        try:
            return dict(zip(wanted, self._session.run(wanted, dict(feeds)), strict=True))
        except Exception as error:
            raise RunRefused(error) from error


class RunRefused(Exception):
    """onnxruntime refused a graph or failed in it. `node` is the one that it names, or ""."""

    def __init__(self, error: Exception) -> None:
        self.reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        found = re.search(r"Name:'([^']*)'", self.reason)
        self.node = found[1] if found else ""
        super().__init__(self.reason)


def every_value(graph: EditedGraph) -> onnx.ModelProto:
    """The model with every value of its top graph as an output."""
    model = graph.model()
    declared = {output.name for output in model.graph.output}
    made = [name for node in model.graph.node for name in node.output if name and name not in declared]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in dict.fromkeys(made))
    return model


def fold_constants(graph: EditedGraph) -> None:
    """Compute what does not depend on any input once, so that shapes and states that are fixed can be seen."""
    varying = graph.reached_from(graph.inputs, lambda *_: True)
    nodes = [node for node in graph.nodes if not set(node.output) & varying and not _is_random(node)]
    names = [name for node in nodes for name in node.output if name]
    if not names:
        return
    part = graph.model()
    del part.graph.output[:], part.graph.input[:], part.graph.node[:]
    part.graph.node.extend(nodes)
    part.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    whole = {tensor.name for tensor in part.graph.initializer}
    part.graph.initializer.extend(tensor for tensor in graph.graph.initializer if tensor.name not in whole)
    try:
        graph.fold(Opened(EditedGraph(part).model()).run({}, names))
    except RunRefused:
        return  # such as values of a type that cannot be an output: the graph stays as it is


def _is_random(node: onnx.NodeProto) -> bool:
    return node.op_type.startswith("Random") or node.op_type in ("Bernoulli", "Multinomial")


def draw(one: SourceInput, shape: Sequence[int], random: np.random.Generator, num_ids: int) -> NDArray[Any]:
    """Numbers for an input: in -1 to 1, or ids below `num_ids`."""
    if one.is_float:
        return random.uniform(-1.0, 1.0, size=shape).astype(one.dtype)
    return random.integers(0, max(1, num_ids), size=shape).astype(one.dtype)


def label_axes(shapes: Sequence[Sequence[int]], steps: int | None = None) -> tuple[Label, ...]:
    """What each axis of a value counts, from its shapes in the three runs of `PROBES`, or all of them at `steps`."""
    if len({len(shape) for shape in shapes}) != 1:
        return ()
    (batch, time), (_, more_time), (less_batch, _) = PROBES
    known = {(batch, batch, less_batch): BATCH, (time, more_time, time): TIME}
    times = (time, more_time, time) if steps is None else (steps,) * 3
    if steps != 1:
        known[(batch * times[0], batch * times[1], less_batch * times[2])] = ROWS
    labels: list[Label] = []
    for sizes in zip(*shapes, strict=True):
        is_fixed = len(set(sizes)) == 1
        labels.append(int(sizes[0]) if is_fixed else known.get(tuple(sizes), OTHER))
    return tuple(labels)
