"""Time-major sequences `[time, batch, width]`, the only layout that onnxruntime's recurrent operators support."""

from __future__ import annotations

from training.onnx_graph.parts.builder import GraphBuilder


def time_major(graph: GraphBuilder, values: str) -> str:
    """`[batch, time, width]` -> `[time, batch, width]`, and the other way round."""
    return graph.node("Transpose", values, perm=[1, 0, 2])


def time_major_ids(graph: GraphBuilder, ids: str) -> str:
    """`[batch, time]` -> `[time, batch]`."""
    return graph.node("Transpose", ids, perm=[1, 0])


def reverse(graph: GraphBuilder, values: str, lengths: str) -> str:
    """Reverse the valid part of each row of `[time, batch, width]`; padding stays at the end. Its own inverse."""
    return graph.node("ReverseSequence", values, lengths, time_axis=0, batch_axis=1)


def last_valid(graph: GraphBuilder, outputs: str, lengths: str) -> str:
    """`[batch, width]`: row b of `[time, batch, width]` at step `lengths[b] - 1`."""
    last = graph.node("Unsqueeze", graph.node("Sub", lengths, graph.integer(1)), graph.integers(1))
    num_rows = graph.node("Squeeze", graph.node("Shape", lengths), graph.integers(0))
    rows = graph.node("Range", graph.integer(0), num_rows, graph.integer(1))
    index = graph.node("Concat", last, graph.node("Unsqueeze", rows, graph.integers(1)), axis=1)
    return graph.node("GatherND", outputs, index)


def first(graph: GraphBuilder, outputs: str) -> str:
    """`[batch, width]`: step 0 of `[time, batch, width]`, where a backward recurrence ends."""
    return graph.node("Gather", outputs, graph.integer(0), axis=0)
