"""Constants that hold the sizes of one export, made to follow the batch and the number of steps.

An exporter that is given one example writes its sizes into reshapes, initial states and the index of the last step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from training.importing.graph.edited_graph import (
    INITIAL_C,
    INITIAL_H,
    SEQUENCE_LENS,
    EditedGraph,
    attribute,
    fill_slot,
    set_attribute,
    slot,
)
from training.importing.graph.probing import TIME, Label

#: The end of a slice without an end.
_NO_END = np.iinfo(np.int64).max


def batch_second(graph: EditedGraph) -> list[str]:
    """Rewrite recurrences with `layout = 1`, batch first, which onnxruntime does not run; returns their names."""
    changed = []
    for node in graph.recurrences:
        if attribute(node, "layout", 0) == 0:
            continue
        set_attribute(node, "layout", 0)
        for place in (0, INITIAL_H, INITIAL_C):
            if slot(node, place):
                node.input[place] = graph.add("Transpose", node.input[place], perm=[1, 0, 2])
        for place, name in enumerate(node.output):
            if name:
                perm = [2, 0, 1, 3] if place == 0 else [1, 0, 2]
                _transpose_output(graph, node, place, perm)
        changed.append(node.name or node.op_type)
    return changed


def _transpose_output(graph: EditedGraph, node: onnx.NodeProto, place: int, perm: list[int]) -> None:
    """Let an output of a node be computed under a new name, and the old one by a Transpose after it."""
    old, new = node.output[place], graph.new_name("time_major")
    node.output[place] = new
    transpose = onnx.helper.make_node("Transpose", [new], [old], perm=perm)
    graph.graph.node.append(transpose)


def free_initial_states(graph: EditedGraph, values: Mapping[str, NDArray[Any]]) -> None:
    """Constant initial states of one size of batch become those of any; constant full lengths are left out."""
    for node in graph.recurrences:
        lens = slot(node, SEQUENCE_LENS)
        steps, rows = values[node.input[0]].shape[:2]
        if lens and not graph.depends_on(lens) and (values[lens] == steps).all():
            fill_slot(node, SEQUENCE_LENS, "")
        for place in (INITIAL_H, INITIAL_C):
            name = slot(node, place)
            if name and not graph.depends_on(name) and values[name].shape[1] == rows:
                state = values[name]
                if (state == state[:, :1]).all():
                    fill_slot(node, place, _for_each_row(graph, state[:, :1], node.input[0]))


def _for_each_row(graph: EditedGraph, state: NDArray[Any], sequence: str) -> str:
    """`[layers, 1, width]` repeated for each row of a sequence `[time, batch, width]`."""
    rows = graph.add("Gather", graph.add("Shape", sequence), graph.integers(1), axis=0)
    layers, width = graph.integers(state.shape[0]), graph.integers(state.shape[2])
    return graph.add("Expand", graph.store(state), graph.add("Concat", layers, rows, width, axis=0))


def free_reshapes(graph: EditedGraph, values: Mapping[str, NDArray[Any]], sizes: Sequence[int]) -> None:
    """Targets of reshapes: axes that stay are copied, the one that follows from the others is left open.

    Args:
        values: every value of a run at the sizes of the export.
        sizes: those sizes, of the batch and of time, as far as they are fixed.
    """
    for node in graph.nodes:
        target = graph.constant(node.input[1]) if node.op_type == "Reshape" else None
        if target is None or node.input[0] not in values:
            continue
        free = _freed(values[node.input[0]].shape, target.tolist(), sizes)
        if free is not None and free != target.tolist() and not attribute(node, "allowzero", 0):
            node.input[1] = graph.integers(*free)


def _freed(before: Sequence[int], target: Sequence[int], sizes: Sequence[int]) -> list[int] | None:
    """The target of a reshape without the sizes of an export; None where they cannot be told from others."""
    whole = [size or before[place] for place, size in enumerate(target)]
    if -1 in whole:
        known = int(np.prod([size for size in whole if size != -1]))
        whole[whole.index(-1)] = int(np.prod(before)) // max(1, known)
    start = 0
    while start < min(len(before), len(whole)) and before[start] == whole[start]:
        start += 1
    free = [0] * start + whole[start:]
    bound = [place for place in range(start, len(whole)) if _holds(whole[place], sizes)]
    if len(bound) > 1:
        return None
    if bound:
        free[bound[0]] = -1
    return free


def _holds(size: int, sizes: Sequence[int]) -> bool:
    """Whether a size is one of an export's, or their product."""
    return size in sizes or (len(sizes) > 1 and size == sizes[0] * sizes[1] and size > 1)


def free_last_steps(
    graph: EditedGraph, labels: Mapping[str, tuple[Label, ...]], steps: int
) -> tuple[list[str], list[str]]:
    """The index of the last of `steps` steps becomes -1, which is the last of any number.

    Returns:
        what was changed, and what cannot be: steps that are taken from the middle.
    """
    changed, stuck = [], []
    for node in graph.nodes:
        of_input = labels.get(node.input[0], ()) if node.input else ()
        if node.op_type == "Gather":
            axis = attribute(node, "axis", 0)
            index = graph.constant(node.input[1])
            if index is not None and index.size == 1 and _is_time(of_input, axis):
                picked = int(index.reshape(())) % steps
                if picked == steps - 1:
                    node.input[1] = graph.store(np.full(index.shape, -1, dtype=np.int64))
                    changed.append(node.output[0])
                elif picked:
                    stuck.append(f"{node.name or 'Gather'} takes step {picked}")
        elif node.op_type == "Slice":
            _free_slice(graph, node, of_input, steps, changed, stuck)
    return changed, stuck


def _free_slice(
    graph: EditedGraph,
    node: onnx.NodeProto,
    of_input: tuple[Label, ...],
    steps: int,
    changed: list[str],
    stuck: list[str],
) -> None:
    parts = [graph.constant(slot(node, place)) for place in (1, 2, 3)]
    if any(part is None or part.size != 1 for part in parts) or not _is_time(of_input, int(parts[2].reshape(()))):  # type: ignore[union-attr]
        return
    start, end = (int(part.reshape(())) for part in parts[:2])  # type: ignore[union-attr]
    first = max(0, start + steps if start < 0 else start)
    last = min(steps, end + steps if end < 0 else end)
    if first == 0 and last == steps:
        node.input[2] = graph.integers(_NO_END)
    elif first == steps - 1 and last == steps:
        node.input[1], node.input[2] = graph.integers(-1), graph.integers(_NO_END)
        changed.append(node.output[0])
    elif (first, last) != (0, 1):
        stuck.append(f"{node.name or 'Slice'} takes steps {first} to {last - 1}")


def counted_steps(graph: EditedGraph, steps: int) -> str:
    """A node that may divide by the number of steps of an export, written as a constant; "" where there is none.

    A mean that is a sum over `x.shape[1]` becomes one over 4. At other lengths it would be another function, and no
    comparison would tell.
    """
    for node in graph.nodes if steps > 1 else ():
        constants = [graph.constant(name) for name in node.input] if node.op_type in ("Div", "Mul") else []
        for constant in constants:
            number = float(constant.reshape(())) if constant is not None and constant.size == 1 else 0.0
            factor = number if node.op_type == "Div" else 1.0 / number if number else 0.0
            if abs(factor - steps) < 1e-5 * steps:
                return f"{node.name or node.op_type} divides by {steps}, which may be the steps of its export"
    return ""


def _is_time(labels: tuple[Label, ...], axis: int) -> bool:
    return bool(labels) and -len(labels) <= axis < len(labels) and labels[axis] == TIME
