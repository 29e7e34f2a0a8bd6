"""Graph writer of the forecaster. The scale of the series is stored in single precision, also beside half weights."""

from __future__ import annotations

import numpy as np

from service.bundle.task_options import MEDIAN
from training.networks.forecaster import Forecaster
from training.onnx_graph.parts.builder import GraphBuilder
from training.onnx_graph.parts.cells import recurrence
from training.onnx_graph.parts.layers import linear
from training.onnx_graph.parts.sequences import time_major


def write_forecaster(graph: GraphBuilder, network: Forecaster) -> None:
    """Frames -> forecast, and quantiles where the network gives them."""
    config, scale = network.config, network.scale
    frames = graph.input("frames")
    own = graph.node("Gather", frames, graph.integers(*scale.target_index), axis=2)
    last = graph.node("Gather", own, graph.integers(config.look_back - 1), axis=1)
    past = _target_past(graph, own, last, network) if network.is_independent else _joint_past(graph, frames, network)
    steps = _future(graph, _state_after(graph, past, network), frames, network)
    level = graph.node("Unsqueeze", last, graph.integers(3))
    values = graph.node("Add", level, graph.node("Mul", steps, _row(graph, scale.target_deviations, (-1, 1))))
    if config.minimum is not None:
        values = graph.node("Max", values, graph.scalar(config.minimum))
    if not config.quantiles:
        graph.output("forecast", graph.node("Squeeze", values, graph.integers(3)))
        return
    median = graph.node("Gather", values, graph.integer(config.quantiles.index(MEDIAN)), axis=3)
    graph.output("forecast", median)
    graph.output("quantiles", values)


def _target_past(graph: GraphBuilder, own: str, last: str, network: Forecaster) -> str:
    """Each target in deviations from its last value: `[batch, targets, look_back]`."""
    deviations = _row(graph, network.scale.target_deviations, (-1,))
    return graph.node("Transpose", graph.node("Div", graph.node("Sub", own, last), deviations), perm=[0, 2, 1])


def _joint_past(graph: GraphBuilder, frames: str, network: Forecaster) -> str:
    """Each channel in deviations from its mean: `[batch, look_back, channels]`."""
    centred = graph.node("Sub", frames, _row(graph, network.scale.mean, (-1,)))
    return graph.node("Div", centred, _row(graph, network.scale.deviation, (-1,)))


def _state_after(graph: GraphBuilder, past: str, network: Forecaster) -> tuple[str, ...]:
    """The state after the last segment of the past, parts `[1, rows, width]`."""
    width = network.segment_input.in_features
    segments = graph.node("Reshape", past, graph.integers(-1, network.config.num_past_segments, width))
    embedded = graph.node("Relu", linear(graph, time_major(graph, segments), network.segment_input))
    return recurrence(graph, embedded, network.rnn).state


def _future(graph: GraphBuilder, state: tuple[str, ...], frames: str, network: Forecaster) -> str:
    """`[batch, horizon, targets, outputs]`, in deviations from the last value."""
    width, num_targets = network.config.hidden_size, network.num_targets
    queries = network.queries().detach()
    num_queries = queries.shape[0]
    copies = num_queries // (num_targets if network.is_independent else 1)
    before = [_repeated(graph, part, copies, width) for part in state]
    batch = graph.node("Shape", frames, start=0, end=1)
    shape = graph.node("Concat", batch, graph.integers(num_queries, width), axis=0)
    queries_of_rows = graph.node("Expand", graph.weight(queries[None]), shape)
    one_step = graph.node("Reshape", queries_of_rows, graph.integers(1, -1, width))
    answers = recurrence(graph, one_step, network.rnn, before).outputs
    num_steps = network.config.num_future_segments * network.config.segment
    values = linear(graph, answers, network.output)
    steps = graph.node("Reshape", values, graph.integers(-1, num_targets, num_steps, network.num_outputs))
    kept = graph.node("Slice", steps, graph.integers(0), graph.integers(network.config.horizon), graph.integers(2))
    return _non_crossing(graph, graph.node("Transpose", kept, perm=[0, 2, 1, 3]), network.num_outputs)


def _repeated(graph: GraphBuilder, part: str, copies: int, width: int) -> str:
    """`[1, rows, width]` -> `[1, rows * copies, width]`, the copies of a row next to each other."""
    column = graph.node("Unsqueeze", part, graph.integers(2))
    copied = graph.node("Expand", column, graph.integers(1, 1, copies, 1))
    return graph.node("Reshape", copied, graph.integers(1, -1, width))


def _non_crossing(graph: GraphBuilder, values: str, num_outputs: int) -> str:
    """Quantiles that never cross, as in `networks.forecaster`."""
    if num_outputs == 1:
        return values
    lowest = graph.node("Slice", values, graph.integers(0), graph.integers(1), graph.integers(3))
    others = graph.node("Slice", values, graph.integers(1), graph.integers(num_outputs), graph.integers(3))
    parts = graph.node("Concat", lowest, graph.node("Softplus", others), axis=3)
    return graph.node("CumSum", parts, graph.integer(3))


def _row(graph: GraphBuilder, numbers: tuple[float, ...], shape: tuple[int, ...]) -> str:
    return graph.constant(np.array(numbers, dtype=np.float32).reshape(shape))
