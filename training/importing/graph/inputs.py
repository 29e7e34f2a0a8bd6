"""What inputs of a foreign graph are for: initial states, lengths of rows, and ids that index an embedding."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto

from training.importing.graph.edited_graph import SEQUENCE_LENS, EditedGraph, attribute, slot, state_places
from training.importing.graph.probing import SourceInput
from training.importing.graph.source import ImportRefused


def require_single_precision(graph: EditedGraph) -> None:
    """Raises ImportRefused for a recurrence in a precision that onnxruntime does not compute."""
    for node in graph.recurrences:
        weights = graph.constant(node.input[1])
        if weights is not None and weights.dtype != np.float32:
            raise ImportRefused(
                f"{node.name or node.op_type} computes in {weights.dtype}, which onnxruntime does not: export the "
                "model in float32, such as that of module.float()"
            )


def state_inputs(graph: EditedGraph) -> tuple[str, ...]:
    """Inputs that reach nothing but initial states of recurrences."""
    nodes = {node.name: _data_of(node) for node in graph.stateful}
    places = {slot(node, place) for node in graph.stateful for place in state_places(node)} - {""}

    def enters(node: onnx.NodeProto, name: str) -> bool:
        return not (name in places and node.name in nodes and name not in nodes[node.name])

    found = []
    for name in graph.inputs:
        reached = graph.reached_from([name], enters)
        if reached & places and not reached & set(graph.outputs) and not _read_beside_state(graph, reached):
            found.append(name)
    return tuple(found)


def _data_of(node: onnx.NodeProto) -> set[str]:
    places = state_places(node)
    return {name for place, name in enumerate(node.input) if name and place not in places}


def _read_beside_state(graph: EditedGraph, values: set[str]) -> bool:
    return any(_data_of(node) & values for node in graph.stateful)


def lengths_input(graph: EditedGraph, source: Mapping[str, SourceInput]) -> str:
    """The input of rank 1 that `sequence_lens` is computed from, or one of whole numbers that is named so."""
    for node in graph.recurrences:
        lens = slot(node, SEQUENCE_LENS)
        found = [name for name in graph.depends_on(lens) if len(source[name].dims) == 1] if lens else []
        if found:
            return min(found)
    named = [
        one.name for one in source.values() if len(one.dims) == 1 and not one.is_float and "len" in one.name.lower()
    ]
    return named[0] if len(named) == 1 else ""


def embedded_ids(graph: EditedGraph, source: Mapping[str, SourceInput]) -> dict[str, int]:
    """The rows of the smallest table that an input of ids indexes."""
    found: dict[str, int] = {}
    for node in graph.nodes:
        table = graph.constant(node.input[0]) if node.op_type == "Gather" else None
        if table is None or attribute(node, "axis", 0) != 0 or table.ndim < 2:
            continue
        for name in graph.depends_on(node.input[1]):
            if not source[name].is_float or _is_cast_to_ids(graph, name):
                found[name] = min(found.get(name, len(table)), len(table))
    return found


def _is_cast_to_ids(graph: EditedGraph, name: str) -> bool:
    """Whether nothing but whole numbers is made of an input of floats, as Keras declares ids."""
    to = {
        attribute(node, "to", 0) if node.op_type == "Cast" else 0
        for node in graph.readers(name)
        if node.op_type != "Shape"
    }
    return bool(to) and to <= {TensorProto.INT32, TensorProto.INT64}
