"""True lengths for a graph that has none: recurrences end with their row, and padding is kept out of what mixes steps.

What is computed for each step by itself needs nothing. Where steps are mixed, padding gets the number that changes
nothing: zero in a sum, a product or a convolution, the smallest number in a maximum or before a softmax.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto

from service.bundle.manifest import LENGTHS
from training.importing.graph.axes import Foreign
from training.importing.graph.edited_graph import (
    RECURRENT,
    SEQUENCE_LENS,
    EditedGraph,
    attribute,
    fill_slot,
    set_attribute,
    slot,
)
from training.importing.graph.probing import BATCH, OTHER, OVER_TIME, ROWS, TIME, Label

#: Numbers that no sum in float32 comes near to, and that stay finite when they are added to.
_LEAST, _MOST = -1e30, 1e30

#: Operators that compute each number from numbers at the same place, or from those along axes without time.
# fmt: off
_BY_STEP = frozenset({
    "Abs", "Add", "And", "BatchNormalization", "Cast", "CastLike", "Ceil", "Celu", "Clip", "Concat", "Constant",
    "ConstantOfShape", "Cos", "Div", "Dropout", "Elu", "Equal", "Erf", "Exp", "Expand", "Flatten", "Floor", "Gelu",
    "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish", "Identity", "IsNaN", "LeakyRelu", "Less", "LessOrEqual",
    "Log", "Max", "Mean", "Min", "Mish", "Mod", "Mul", "Neg", "Not", "Or", "PRelu", "Pad", "Pow", "Range",
    "Reciprocal", "Relu", "Reshape", "Round", "Selu", "Shape", "Sigmoid", "Sign", "Sin", "Size", "Softplus",
    "Softsign", "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Tanh", "ThresholdedRelu", "Tile", "Transpose",
    "Unsqueeze", "Where", "Xor",
})
# fmt: on
#: Operators that mix numbers along their axes, and what padding must be for them.
_REDUCING = {
    "ReduceSum": 0.0,
    "ReduceMax": _LEAST,
    "ReduceMin": _MOST,
    "Softmax": _LEAST,
    "LogSoftmax": _LEAST,
    "ReduceMean": None,
    "GlobalAveragePool": None,
    "GlobalMaxPool": _LEAST,
    "ReduceL1": 0.0,
    "ReduceL2": 0.0,
    "ReduceSumSquare": 0.0,
    "Conv": 0.0,
}


#: Operators that mix numbers along their axes in a way that no padding leaves alone.
_ALONG_AXES = frozenset({"LayerNormalization", "ArgMax", "ArgMin", "Hardmax", "TopK", "CumSum"})
#: The axis of these operators where they name none.
_DEFAULT_AXES = {"Softmax": -1, "LogSoftmax": -1, "Hardmax": -1, "TopK": -1, "ArgMax": 0, "ArgMin": 0}


class Unmaskable(Exception):
    """An operator mixes steps in a way for which no number of padding is known; the message names it."""


def mixing_nodes(foreign: Foreign) -> list[tuple[onnx.NodeProto, str]]:
    """Nodes that mix steps of time and are no recurrences, with how: reduce, last, product or other."""
    found = []
    for node in foreign.graph.nodes:
        how = _mixes(foreign, node)
        if how:
            found.append((node, how))
    return found


def _mixes(foreign: Foreign, node: onnx.NodeProto) -> str:
    """How a node mixes steps; "" if it does not."""
    labels = [foreign.labels.get(name, ()) for name in node.input]
    if not any(OVER_TIME & set(each) for each in labels) or node.op_type in (*RECURRENT, "Scan"):
        return ""
    if node.op_type in _BY_STEP:
        return ""
    if node.op_type in ("Gather", "Slice"):
        return _picks(foreign, node, labels)
    if node.op_type in ("MatMul", "Gemm"):
        return "product" if _contracts(node, labels) else ""
    if node.op_type in _REDUCING or node.op_type.startswith("Reduce") or node.op_type in _ALONG_AXES:
        axes = _axes_of(foreign.graph, node, len(labels[0]))
        mixed = {labels[0][axis] for axis in axes} if labels[0] else {OTHER}
        if not mixed & OVER_TIME:
            return ""
        return "reduce" if node.op_type in _REDUCING and not mixed & {ROWS, OTHER} else "other"
    return "other"


def _picks(foreign: Foreign, node: onnx.NodeProto, labels: list[tuple[Label, ...]]) -> str:
    """How a Gather or Slice takes steps: the last one, the first, or others."""
    graph, of_data = foreign.graph, labels[0]
    if node.op_type == "Gather":
        axis = attribute(node, "axis", 0)
        index = graph.constant(node.input[1])
        if not of_data or of_data[axis] not in OVER_TIME:
            return ""
        single = index is not None and index.size == 1
        return {-1: "last", 0: ""}.get(int(index.reshape(())), "other") if single and index is not None else "other"
    parts = [graph.constant(slot(node, place)) for place in (1, 2, 3, 4)]
    if parts[2] is None or any(part is None for part in parts[:2]):
        return "" if parts[2] is not None and not _over_time(of_data, parts[2]) else "other"
    if not _over_time(of_data, parts[2]):
        return ""
    step = 1 if parts[3] is None else int(parts[3].reshape(-1)[0])
    if parts[0] is None or parts[1] is None or parts[0].size != 1 or step != 1:
        return "other"
    start, end = int(parts[0].reshape(())), int(parts[1].reshape(()))
    if start == -1 and end > 2**31 - 2:
        return "last"
    return "" if (start, end) == (0, 1) or (start == 0 and end > 2**31 - 2) else "other"


def _over_time(labels: tuple[Label, ...], axes: np.ndarray) -> bool:
    return any(labels[int(axis)] in OVER_TIME for axis in axes.reshape(-1)) if labels else True


def _contracts(node: onnx.NodeProto, labels: list[tuple[Label, ...]]) -> bool:
    """Whether a product sums over time."""
    left, right = labels[0], labels[1]
    if node.op_type == "Gemm":
        axis = 0 if attribute(node, "transA", 0) else -1
        return bool(left) and left[axis] == TIME
    row = right[-2] if len(right) > 1 else (right[-1] if right else 0)
    return bool(left) and (left[-1] == TIME or row == TIME)


def _axes_of(graph: EditedGraph, node: onnx.NodeProto, rank: int) -> list[int]:
    """The axes that an operator reduces or normalises."""
    if node.op_type.startswith("Global") or node.op_type == "Conv":
        return list(range(2, rank))
    if node.op_type in _DEFAULT_AXES:
        return [attribute(node, "axis", _DEFAULT_AXES[node.op_type])]
    if node.op_type == "LayerNormalization":
        return list(range(attribute(node, "axis", -1) % max(1, rank), rank))
    given = attribute(node, "axes", None)
    if given is None and slot(node, 1):
        found = graph.constant(node.input[1])
        given = None if found is None else found.reshape(-1).tolist()
    return list(range(rank)) if not given else [int(axis) for axis in given]


def write_lengths(foreign: Foreign) -> list[str]:
    """Let rows end at their lengths, for which a graph without any gets an input; returns what was masked, as words.

    Raises:
        Unmaskable: steps are mixed in a way that padding cannot be kept out of.
    """
    graph = foreign.graph
    if any(node.op_type == "Loop" for node in graph.nodes):
        raise Unmaskable("a Loop does not end with its row")
    mixing = mixing_nodes(foreign)
    for node, how in mixing:
        if how == "other":
            raise Unmaskable(f"{node.name or node.op_type} ({node.op_type}) mixes steps")
    main = next(name for name in foreign.source if TIME in foreign.labels[name])
    masks = _Masks(foreign, main, _lengths(foreign))
    for node in graph.recurrences:
        if not slot(node, SEQUENCE_LENS):
            fill_slot(node, SEQUENCE_LENS, masks.lens)
    for node in graph.stateful:
        if node.op_type == "Scan":
            _end_scan(graph, masks, node)
    for node, how in mixing:
        _MASKED[how](foreign, masks, node)
    return sorted({node.op_type for node, _ in mixing})


def _lengths(foreign: Foreign) -> str:
    """The lengths of the rows, int64 `[batch]`."""
    graph = foreign.graph
    if foreign.lengths:
        return graph.add("Cast", foreign.lengths, to=TensorProto.INT64)
    graph.clear_name(LENGTHS)
    graph.graph.input.append(onnx.helper.make_tensor_value_info(LENGTHS, TensorProto.INT64, [BATCH]))
    return LENGTHS


def _end_scan(graph: EditedGraph, masks: _Masks, node: onnx.NodeProto) -> None:
    """Let the state of a Scan stay as it is in the steps of padding."""
    count = attribute(node, "num_scan_inputs", 0)
    body = next(each.g for each in node.attribute if each.name == "body")
    inside = graph.new_name("inside")
    for index in range(len(node.input) - count):
        before, after = body.input[index], body.output[index].name
        if len(before.type.tensor_type.shape.dim) not in (0, 2):
            raise Unmaskable(f"{node.name} has a state of {len(before.type.tensor_type.shape.dim)} axes")
        body.output[index].name = graph.new_name("state")
        body.node.append(onnx.helper.make_node("Where", [inside, after, before.name], [body.output[index].name]))
    body.input.append(onnx.helper.make_tensor_value_info(inside, TensorProto.BOOL, None))
    node.input.append(masks.by_step())
    set_attribute(node, "num_scan_inputs", count + 1)
    for name in ("scan_input_axes", "scan_input_directions"):
        given = attribute(node, name, [])
        if given:
            set_attribute(node, name, [*given, 0 if name == "scan_input_axes" else given[0]])


class _Masks:
    """Values made from `lengths`, in the layout of the value that they are for."""

    def __init__(self, foreign: Foreign, main: str, lengths: str) -> None:
        self._foreign, self._graph, self._lengths = foreign, foreign.graph, lengths
        graph = self._graph
        self.lens = graph.add("Cast", lengths, to=TensorProto.INT32)
        axis = foreign.labels[main].index(TIME)
        steps = graph.add("Gather", graph.add("Shape", main), graph.integer(axis), axis=0)
        self._places = graph.add("Range", graph.integer(0), steps, graph.integer(1))
        self._ends = graph.add("Unsqueeze", lengths, graph.integers(1))
        self._inside = graph.add("Less", graph.add("Unsqueeze", self._places, graph.integers(0)), self._ends)

    def by_step(self) -> str:
        """True for steps that are no padding, `[time, batch, 1]`."""
        steps_first = self._graph.add("Transpose", self._inside, perm=[1, 0])
        return self._graph.add("Unsqueeze", steps_first, self._graph.integers(2))

    def inside(self, value: str) -> str:
        """True where a value is no padding, with axes of size 1 where it does not matter."""
        return self._laid_out(self._inside, value)

    def at_end(self, value: str) -> str:
        """True at the last step of each row."""
        graph = self._graph
        last = graph.add("Sub", self._ends, graph.integer(1))
        is_last = graph.add("Equal", graph.add("Unsqueeze", self._places, graph.integers(0)), last)
        return self._laid_out(is_last, value)

    def number(self, value: str, keeps: bool, axis: int) -> str:
        """The steps of each row as floats, in the layout of a value whose axis of time was reduced."""
        labels = self._foreign.labels[value]
        rows = labels.index(BATCH)
        others = [place for place in range(len(labels)) if place != rows and (keeps or place != axis)]
        if not keeps:
            others = [place - (place > axis) for place in others]
        cast = self._graph.add("Cast", self._lengths, to=TensorProto.FLOAT)
        return self._graph.add("Unsqueeze", cast, self._graph.integers(*others)) if others else cast

    def _laid_out(self, mask: str, value: str) -> str:
        """A mask `[batch, time]` as one that a value broadcasts with."""
        labels = self._foreign.labels[value]
        if labels.count(BATCH) != 1 or labels.count(TIME) != 1:
            raise Unmaskable(f"{value} has the axes {list(labels)}")
        rows, steps = labels.index(BATCH), labels.index(TIME)
        if steps < rows:
            mask = self._graph.add("Transpose", mask, perm=[1, 0])
        others = [place for place in range(len(labels)) if place not in (rows, steps)]
        return self._graph.add("Unsqueeze", mask, self._graph.integers(*others)) if others else mask


def _with_padding(foreign: Foreign, masks: _Masks, value: str, number: float) -> str:
    """A value whose padding is `number`."""
    graph = foreign.graph
    filler = graph.add("CastLike", graph.store(np.array(number, dtype=np.float32)), value)
    masked = graph.add("Where", masks.inside(value), value, filler)
    foreign.labels[masked] = foreign.labels[value]
    return masked


def _mask_reduction(foreign: Foreign, masks: _Masks, node: onnx.NodeProto) -> None:
    number = _REDUCING[node.op_type]
    if number is not None:
        node.input[0] = _with_padding(foreign, masks, node.input[0], number)
        return
    graph, value = foreign.graph, node.input[0]
    labels = foreign.labels[value]
    axes = [axis % len(labels) for axis in _axes_of(graph, node, len(labels))]
    if [labels[axis] for axis in axes] != [TIME]:
        raise Unmaskable(f"{node.name or node.op_type} takes a mean over {[labels[axis] for axis in axes]}")
    keeps = bool(attribute(node, "keepdims", 1)) or node.op_type == "GlobalAveragePool"
    total = graph.add(
        "ReduceSum", _with_padding(foreign, masks, value, 0.0), graph.integers(axes[0]), keepdims=int(keeps)
    )
    count = graph.add("CastLike", masks.number(value, keeps, axes[0]), total)
    _replace(graph, node, graph.add("Div", total, count))


def _mask_last(foreign: Foreign, masks: _Masks, node: onnx.NodeProto) -> None:
    """The last step of each row in place of the last of the batch."""
    graph, value = foreign.graph, node.input[0]
    axis = foreign.labels[value].index(TIME)
    zero = graph.add("CastLike", graph.store(np.array(0.0, dtype=np.float32)), value)
    alone = graph.add("Where", masks.at_end(value), value, zero)
    index = graph.constant(node.input[1])
    keeps = node.op_type == "Slice" or (index is not None and index.ndim == 1)
    _replace(graph, node, graph.add("ReduceSum", alone, graph.integers(axis), keepdims=int(keeps)))


def _mask_product(foreign: Foreign, masks: _Masks, node: onnx.NodeProto) -> None:
    place = 0 if TIME in foreign.labels.get(node.input[0], ()) else 1
    node.input[place] = _with_padding(foreign, masks, node.input[place], 0.0)


def _replace(graph: EditedGraph, node: onnx.NodeProto, value: str) -> None:
    """Let a value be what a node computed."""
    name = node.output[0]
    graph.graph.node.remove(node)
    graph.graph.node.append(onnx.helper.make_node("Identity", [value], [name]))


_MASKED: dict[str, Callable[[Foreign, _Masks, onnx.NodeProto], None]] = {
    "reduce": _mask_reduction,
    "last": _mask_last,
    "product": _mask_product,
}
