"""Recurrent state made explicit: each recurrence gets its initial state as an input and gives its last one.

The state of a bundle is zero before the first step. A recurrence whose initial state is a constant other than zero
keeps its state as the difference from that constant.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto

from service.bundle.manifest import StateSpec
from training.importing.graph.axes import Foreign
from training.importing.graph.edited_graph import (
    INITIAL_C,
    INITIAL_H,
    LOOPS,
    RECURRENT,
    EditedGraph,
    attribute,
    fill_slot,
    slot,
    state_places,
)
from training.importing.graph.probing import BATCH, Label

#: Outputs of a recurrent operator.
FINAL_H, FINAL_C = 1, 2
#: Operators that only rearrange a value.
REARRANGING = frozenset(
    {"Identity", "Cast", "Concat", "Split", "Slice", "Squeeze", "Unsqueeze", "Transpose", "Reshape", "Gather"}
)


@dataclass(frozen=True)
class StatePart:
    """One tensor of state: the initial state at input `place` of a node, and the last one at its output `final`.

    Attributes:
        node: the name of a recurrent node, or of a loop.
        start: the constant initial state `[layers, 1, width]`, zero for most models.
        has_layers: whether the node's own state is `[layers, batch, width]`, and not `[batch, width]`.
    """

    node: str
    place: int
    final: int
    spec: StateSpec
    start: np.ndarray
    has_layers: bool = True


@dataclass
class StatePlan:
    """The state of a graph, or why it has none."""

    parts: list[StatePart] = field(default_factory=list)
    obstacle: str = ""
    notes: list[str] = field(default_factory=list)


def plan_state(foreign: Foreign) -> StatePlan:
    """Which state goes from step to step. An obstacle where the graph reads its input as a whole."""
    nodes = foreign.graph.stateful
    plan = StatePlan(obstacle="" if nodes else "it has no recurrence, or one that its exporter unrolled")
    for index, node in enumerate(nodes):
        plan.obstacle = plan.obstacle or _obstacle(node)
        for place in () if plan.obstacle else _carried(foreign, node):
            start = _start(foreign, node, place)
            if start is None:
                plan.obstacle = f"the initial state of {node.name} is computed from the input"
                break
            if start.any():
                plan.notes.append(f"{node.name} begins from a constant state, from which its state is counted")
            name = _state_name(node, place, index, len(nodes), foreign)
            spec = StateSpec(name=name, next_name=f"next_{name}", layers=start.shape[0], width=start.shape[2])
            plan.parts.append(
                StatePart(node.name, place, _final(node, place), spec, start, _has_layers(foreign, node, place))
            )
    return StatePlan(obstacle=plan.obstacle) if plan.obstacle else plan


def _obstacle(node: onnx.NodeProto) -> str:
    """Why a node reads its input as a whole; "" if it does not."""
    direction = attribute(node, "direction", "forward")
    if direction != "forward":
        return f"{node.name} reads its input {'backwards' if direction == 'reverse' else 'in both directions'}"
    if any(attribute(node, "scan_input_directions", [])):
        return f"{node.name} reads its input backwards"
    return ""


def _carried(foreign: Foreign, node: onnx.NodeProto) -> list[int]:
    """The places of the state that goes from step to step. A loop also carries counters and what it has collected."""
    if node.op_type in RECURRENT:
        return list(state_places(node))
    return [place for place in state_places(node) if _is_state(foreign, node, place)]


def _is_state(foreign: Foreign, node: onnx.NodeProto, place: int) -> bool:
    """Whether what a loop carries is `[batch, width]` or `[layers, batch, width]` of float32."""
    final = node.output[_final(node, place)] if _final(node, place) < len(node.output) else ""
    labels, values = foreign.labels.get(final, ()), foreign.values.get(final)
    is_float = values is not None and values.dtype == np.float32
    return (
        is_float and len(labels) in (2, 3) and labels[-2] == BATCH and all(_is_size(n) for n in (labels[0], labels[-1]))
    )


def _is_size(label: Label) -> bool:
    return label == BATCH or (isinstance(label, int) and label > 0)


def _has_layers(foreign: Foreign, node: onnx.NodeProto, place: int) -> bool:
    return node.op_type in RECURRENT or len(foreign.labels[node.output[_final(node, place)]]) == 3


def _final(node: onnx.NodeProto, place: int) -> int:
    """The output with the last value of the state that begins at an input."""
    return {"Scan": place, "Loop": place - 2}.get(node.op_type, FINAL_H if place == INITIAL_H else FINAL_C)


def _state_name(node: onnx.NodeProto, place: int, index: int, count: int, foreign: Foreign) -> str:
    kind = "cell" if node.op_type == "LSTM" and place == INITIAL_C else "hidden"
    several = node.op_type in LOOPS and len(_carried(foreign, node)) > 1
    number = f"_{index + 1}" if count > 1 else ""
    name = f"{kind}{number}_{place}" if several else f"{kind}{number}"
    taken = {*foreign.source, *foreign.graph.outputs} - set(foreign.state)
    return name if name not in taken and f"next_{name}" not in taken else f"recurrent_{name}"


def _start(foreign: Foreign, node: onnx.NodeProto, place: int) -> np.ndarray | None:
    """The initial state of every row, `[layers, 1, width]`; None if it is computed from the numbers of the input."""
    name = slot(node, place)
    if name and not foreign.graph.depends_on(name) <= set(foreign.state):
        return None
    values = foreign.values.get(name, foreign.graph.constant(name)) if name else None
    if values is None:  # there is none, or it is an input, which begins with zeros
        return np.zeros((*_size_of_state(foreign, node, place),), dtype=np.float32)
    if node.op_type in LOOPS and values.ndim == 2:
        values = values[None]
    return np.asarray(values[:, :1], dtype=np.float32) if (values == values[:, :1]).all() else None


def _size_of_state(foreign: Foreign, node: onnx.NodeProto, place: int) -> tuple[int, int, int]:
    if node.op_type in RECURRENT:
        return 1, 1, int(attribute(node, "hidden_size", 0)) or _width(foreign.graph, node)
    labels = foreign.labels[node.output[_final(node, place)]]
    return (int(labels[0]) if len(labels) == 3 else 1), 1, int(labels[-1])


def _width(graph: EditedGraph, node: onnx.NodeProto) -> int:
    recurrent = graph.constant(node.input[2])
    return 0 if recurrent is None else int(recurrent.shape[2])


def write_state(foreign: Foreign, plan: StatePlan) -> None:
    """Add the inputs and outputs of a plan to the graph, and remove the inputs that were initial states."""
    graph = foreign.graph
    nodes = {node.name: node for node in graph.stateful}
    for part in plan.parts:
        node, spec = nodes[part.node], part.spec
        shape: list[str | int | None] = [spec.layers, BATCH, spec.width]
        graph.clear_name(spec.name)
        graph.clear_name(spec.next_name)
        graph.graph.input.append(onnx.helper.make_tensor_value_info(spec.name, TensorProto.FLOAT, shape))
        foreign.labels[spec.name] = (spec.layers, BATCH, spec.width)
        initial = graph.add("Add", spec.name, graph.store(part.start)) if part.start.any() else spec.name
        if not part.has_layers:
            initial = graph.add("Squeeze", initial, graph.integers(0))
        fill_slot(node, part.place, initial)
        final = final_state(graph, node, part)
        if part.start.any():
            final = graph.add("Sub", final, graph.store(part.start))
        graph.graph.node.append(onnx.helper.make_node("Identity", [final], [spec.next_name]))
    remove_inputs(graph, foreign.state)


def final_state(graph: EditedGraph, node: onnx.NodeProto, part: StatePart) -> str:
    """The last state of a part as `[layers, batch, width]`."""
    value = final_output(graph, node, part.final)
    if attribute(node, "layout", 0):
        return graph.add("Transpose", value, perm=[1, 0, 2])
    return value if part.has_layers else graph.add("Unsqueeze", value, graph.integers(0))


def final_output(graph: EditedGraph, node: onnx.NodeProto, place: int) -> str:
    """The name of an optional output of a node, which gets one if it has none."""
    node.output.extend([""] * (place + 1 - len(node.output)))
    if not node.output[place]:
        node.output[place] = graph.new_name("final")
    return str(node.output[place])


def remove_inputs(graph: EditedGraph, names: tuple[str, ...]) -> None:
    """Remove inputs of the graph that no node that is kept reads any more."""
    kept = [value for value in graph.graph.input if value.name not in names]
    del graph.graph.input[:]
    graph.graph.input.extend(kept)


def final_state_outputs(foreign: Foreign) -> list[str]:
    """Outputs that are nothing but final states `[layers, batch, width]`: where there is a state, it replaces them."""
    graph = foreign.graph
    finals = {name for node in graph.recurrences for name in list(node.output)[1:] if name}
    loops = [node for node in graph.stateful if node.op_type in LOOPS]
    finals |= {node.output[_final(node, place)] for node in loops for place in _carried(foreign, node)}
    found = []
    for output in graph.outputs:
        labels = foreign.labels.get(output, ())
        if len(labels) == 3 and labels[1] == BATCH and _comes_from(graph, output, finals):
            found.append(output)
    return found


def _comes_from(graph: EditedGraph, value: str, finals: set[str]) -> bool:
    """Whether a value is made of final states by rearranging them alone."""
    if value in finals:
        return True
    node = graph.producer(value)
    if node is None or node.op_type not in REARRANGING:
        return False
    data = node.input if node.op_type == "Concat" else node.input[:1]
    return all(_comes_from(graph, name, finals) for name in data)
