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
from training.importing.graph.edited_graph import INITIAL_C, INITIAL_H, EditedGraph, attribute, fill_slot, slot
from training.importing.graph.probing import BATCH

#: Outputs of a recurrent operator.
FINAL_H, FINAL_C = 1, 2
#: Operators that only rearrange a value.
REARRANGING = frozenset(
    {"Identity", "Cast", "Concat", "Split", "Slice", "Squeeze", "Unsqueeze", "Transpose", "Reshape", "Gather"}
)


@dataclass(frozen=True)
class StatePart:
    """One tensor of state of one recurrence: the initial state at `place` and the last one at output `final`.

    `start` is the constant initial state `[1, 1, width]`, zero for most models.
    """

    recurrence: int
    place: int
    final: int
    spec: StateSpec
    start: np.ndarray


@dataclass
class StatePlan:
    """The state of a graph, or why it has none."""

    parts: list[StatePart] = field(default_factory=list)
    obstacle: str = ""
    notes: list[str] = field(default_factory=list)


def plan_state(foreign: Foreign) -> StatePlan:
    """Which state goes from step to step. An obstacle where the graph reads its input as a whole."""
    graph, plan = foreign.graph, StatePlan()
    nodes = graph.recurrences
    if not nodes:
        loops = sorted({node.op_type for node in graph.nodes} & {"Scan", "Loop"})
        what = f"its recurrence is a {loops[0]}, whose state is not taken out" if loops else "it has no recurrence"
        return StatePlan(obstacle=what)
    for index, node in enumerate(nodes):
        if attribute(node, "direction", "forward") != "forward":
            return StatePlan(obstacle=f"{_name(node)} reads its input {_direction(node)}")
        for place in (INITIAL_H, INITIAL_C) if node.op_type == "LSTM" else (INITIAL_H,):
            start = _start(foreign, node, place)
            if start is None:
                return StatePlan(obstacle=f"the initial state of {_name(node)} is computed from the input")
            if start.any():
                plan.notes.append(f"{_name(node)} begins from a constant state, from which its state is counted")
            name = _state_name("hidden" if place == INITIAL_H else "cell", index, len(nodes), foreign)
            spec = StateSpec(name=name, next_name=f"next_{name}", layers=1, width=start.shape[2])
            plan.parts.append(StatePart(index, place, FINAL_H if place == INITIAL_H else FINAL_C, spec, start))
    return plan


def _name(node: onnx.NodeProto) -> str:
    return node.name or f"the {node.op_type}"


def _direction(node: onnx.NodeProto) -> str:
    return "backwards" if attribute(node, "direction", "") == "reverse" else "in both directions"


def _state_name(kind: str, index: int, count: int, foreign: Foreign) -> str:
    name = kind if count == 1 else f"{kind}_{index + 1}"
    taken = {*foreign.source, *foreign.graph.outputs} - set(foreign.state)
    return name if name not in taken and f"next_{name}" not in taken else f"recurrent_{name}"


def _start(foreign: Foreign, node: onnx.NodeProto, place: int) -> np.ndarray | None:
    """The initial state of every row, `[1, 1, width]`; None if it is computed from the numbers of the input."""
    width = int(attribute(node, "hidden_size", 0)) or _width(foreign.graph, node)
    name = slot(node, place)
    if not name:
        return np.zeros((1, 1, width), dtype=np.float32)
    if not foreign.graph.depends_on(name) <= set(foreign.state):
        return None
    constant = foreign.graph.constant(name)
    values = foreign.values.get(name, constant)
    if values is None:
        values = np.zeros((1, 1, width), dtype=np.float32)  # an input itself, which is fed with zeros
    return np.asarray(values[:, :1], dtype=np.float32) if (values == values[:, :1]).all() else None


def _width(graph: EditedGraph, node: onnx.NodeProto) -> int:
    recurrent = graph.constant(node.input[2])
    return 0 if recurrent is None else int(recurrent.shape[2])


def write_state(foreign: Foreign, plan: StatePlan) -> None:
    """Add the inputs and outputs of a plan to the graph, and remove the inputs that were initial states."""
    graph = foreign.graph
    nodes = graph.recurrences
    for part in plan.parts:
        node, spec = nodes[part.recurrence], part.spec
        shape: list[str | int | None] = [1, BATCH, spec.width]
        graph.clear_name(spec.name)
        graph.clear_name(spec.next_name)
        graph.graph.input.append(onnx.helper.make_tensor_value_info(spec.name, TensorProto.FLOAT, shape))
        foreign.labels[spec.name] = (1, BATCH, spec.width)
        initial = graph.add("Add", spec.name, graph.store(part.start)) if part.start.any() else spec.name
        fill_slot(node, part.place, _as_node(graph, node, initial))
        final = graph.add("Cast", final_output(graph, node, part.final), to=TensorProto.FLOAT)
        if part.start.any():
            final = graph.add("Sub", final, graph.store(part.start))
        graph.graph.node.append(onnx.helper.make_node("Identity", [final], [spec.next_name]))
    remove_inputs(graph, foreign.state)


def _as_node(graph: EditedGraph, node: onnx.NodeProto, value: str) -> str:
    """A value in the element type of a recurrence, which that of its weights tells."""
    weights = graph.constant(node.input[1])
    if weights is None or weights.dtype == np.float32:
        return value
    return graph.add("Cast", value, to=onnx.helper.np_dtype_to_tensor_dtype(weights.dtype))


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
