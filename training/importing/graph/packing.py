"""Rows that were sorted by length for torch's packed sequences, left in their order: ONNX needs no sorting.

`pack_padded_sequence` sorts a batch by length and `pad_packed_sequence` puts it back. A state that is fed to the
recurrence would have to be sorted as well.
"""

from __future__ import annotations

from training.importing.graph.axes import Foreign
from training.importing.graph.probing import BATCH


def without_sorting(foreign: Foreign) -> list[str]:
    """Let the sorting of the lengths keep their order; returns what was changed, as sentences."""
    graph, notes = foreign.graph, list[str]()
    if not foreign.lengths:
        return notes
    for node in graph.nodes:
        is_of_rows = node.op_type == "TopK" and foreign.labels.get(node.input[0]) == (BATCH,)
        if not is_of_rows or foreign.lengths not in graph.depends_on(node.input[0]):
            continue
        rows = graph.add("Squeeze", graph.add("Shape", node.input[0]), graph.integers(0))
        order = graph.add("Range", graph.integer(0), rows, graph.integer(1))
        graph.redirect(node.output[0], node.input[0])
        graph.redirect(node.output[1], order)
        notes.append("rows are not sorted by length, which only torch's packed sequences need")
    return notes
