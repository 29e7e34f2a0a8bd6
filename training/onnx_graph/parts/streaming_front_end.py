"""The causal front end of speech recognition; the torch version is `networks/inputs/streaming_front_end.py`."""

from __future__ import annotations

from typing import NamedTuple, cast

import numpy as np
from onnx import TensorProto
from torch import Tensor

from training.networks.inputs.streaming_front_end import (
    MOST_FRAMES,
    PRIOR_FRAMES,
    CausalConvolution,
    CausalSpectrogram,
    StreamingFrontEnd,
)
from training.onnx_graph.parts.builder import GraphBuilder
from training.onnx_graph.parts.front_end import normalised_each
from training.onnx_graph.parts.layers import axis_size, fill_where, valid_mask
from training.onnx_graph.parts.sequences import time_major
from training.preprocessing.spectrogram import POWER_FLOOR


class Features(NamedTuple):
    """`values` `[batch, steps, size]`, the steps of each row, and the state after them, by name."""

    values: str
    steps: str
    state: dict[str, str]


def streaming_front_end(
    graph: GraphBuilder, values: str, lengths: str, module: StreamingFrontEnd, state: dict[str, str]
) -> Features:
    """Frames `[batch, time, features]` or samples `[batch, time]` of a chunk; without `state`, of a whole input."""
    after: dict[str, str] = {}
    steps = _steps(graph, lengths, module.values_per_step)
    values = _whole_steps(graph, values, lengths, module)
    if module.spectrogram is not None:
        values = _spectrogram(graph, values, lengths, module.spectrogram, state, after)
    centred = graph.node("Sub", values, _constant(graph, module.mean))
    features = graph.node("Div", centred, _constant(graph, module.deviation))
    num_frames = graph.node("Mul", steps, graph.integer(module.frames_per_step))
    if module.config.normalise_each:
        features = normalised_each(graph, features, num_frames)
    elif module.config.running_mean:
        features = _less_running_mean(graph, features, num_frames, state, after)
    for number, part in enumerate(module.convolutions, start=1):
        convolution = cast(CausalConvolution, part)
        features = _convolution(graph, features, num_frames, convolution, f"conv{number}", state, after)
        num_frames = graph.node("Div", num_frames, graph.integer(convolution.stride))
    return Features(features, steps, after)


def _steps(graph: GraphBuilder, lengths: str, per_step: int) -> str:
    return graph.node("Div", graph.node("Add", lengths, graph.integer(per_step - 1)), graph.integer(per_step))


def _whole_steps(graph: GraphBuilder, values: str, lengths: str, module: StreamingFrontEnd) -> str:
    """Zero beyond each row's length, and padded so that the last step of the longest row is whole."""
    mask = valid_mask(graph, values, lengths)
    is_sound = module.spectrogram is not None
    if not is_sound:
        mask = graph.node("Unsqueeze", mask, graph.integers(2))
    values = fill_where(graph, mask, values, 0.0)
    per_step = graph.integer(module.values_per_step)
    over = graph.node("Mod", axis_size(graph, values, axis=1), per_step)
    missing = graph.node("Mod", graph.node("Sub", per_step, over), per_step)
    none = graph.integers(0)
    at_end = graph.node("Unsqueeze", missing, graph.integers(0))
    pads = (none, none, none, at_end) if is_sound else (none, none, none, none, at_end, none)
    return graph.node("Pad", values, graph.node("Concat", *pads, axis=0))


def _spectrogram(
    graph: GraphBuilder,
    samples: str,
    lengths: str,
    module: CausalSpectrogram,
    state: dict[str, str],
    after: dict[str, str],
) -> str:
    """`[batch, time]` -> `[batch, frames, mel_bands]`."""
    column = graph.node("Unsqueeze", samples, graph.integers(2))
    column = _after_overlap(graph, column, module.overlap, state.get("audio"), by_sample=True)
    if "audio" in state:
        kept = _kept_before(graph, column, lengths, module.overlap)
        after["audio"] = graph.node("Transpose", kept, perm=[2, 0, 1])
    row = graph.node("Transpose", column, perm=[0, 2, 1])
    waves = graph.node("Conv", row, _constant(graph, module.basis.unsqueeze(1)), strides=[module.step])
    cosines, sines = graph.nodes("Split", waves, num_outputs=2, axis=1)
    power = graph.node("Add", graph.node("Mul", cosines, cosines), graph.node("Mul", sines, sines))
    by_step = graph.node("Transpose", power, perm=[0, 2, 1])
    bands = graph.node("MatMul", by_step, _constant(graph, module.filters))
    return graph.node("Log", graph.node("Add", bands, graph.scalar(POWER_FLOOR)))


def _less_running_mean(
    graph: GraphBuilder, features: str, num_frames: str, state: dict[str, str], after: dict[str, str]
) -> str:
    """Features less their mean over the input so far. The sum runs on from the state, so that chunks add up alike."""
    before = time_major(graph, state["norm_sum"]) if state else _zeros_before(graph, features, 1)
    frames = graph.node("Range", graph.integer(1), _one_more(graph, features), graph.integer(1))
    counts = graph.node("Unsqueeze", graph.node("Cast", frames, to=TensorProto.FLOAT), graph.integers(0, 2))
    if state:
        counts = graph.node("Add", counts, time_major(graph, state["norm_count"]))
    is_late = _is_beyond_most(graph, counts)
    early = graph.node("Mul", features, graph.node("Sub", graph.scalar(1.0), is_late))
    at_most = graph.node("Add", before, graph.node("ReduceSum", early, graph.integers(1), keepdims=1))
    total = graph.node("CumSum", graph.node("Concat", before, features, axis=1), graph.integer(1))
    total = graph.node("Slice", total, graph.integers(1), graph.integers(np.iinfo(np.int64).max), graph.integers(1))
    sums = graph.node("Sub", total, graph.node("Mul", is_late, graph.node("Mul", at_most, graph.scalar(0.5))))
    if state:
        kept = _kept_before(graph, graph.node("Concat", before, sums, axis=1), num_frames, 1)
        after["norm_sum"] = time_major(graph, kept)
        column = graph.node("Unsqueeze", graph.node("Cast", num_frames, to=TensorProto.FLOAT), graph.integers(0, 2))
        after["norm_count"] = _at_most(graph, graph.node("Add", state["norm_count"], column))
    counts = graph.node("Add", _at_most(graph, counts), graph.scalar(PRIOR_FRAMES))
    return graph.node("Sub", features, graph.node("Div", sums, counts))


def _is_beyond_most(graph: GraphBuilder, counts: str) -> str:
    """1 where the running mean has been halved, else 0."""
    return graph.node("Cast", graph.node("Greater", counts, graph.scalar(MOST_FRAMES)), to=TensorProto.FLOAT)


def _at_most(graph: GraphBuilder, counts: str) -> str:
    """Counts of the running mean, from those since its last halving."""
    return graph.node("Sub", counts, graph.node("Mul", _is_beyond_most(graph, counts), graph.scalar(MOST_FRAMES / 2)))


def _convolution(
    graph: GraphBuilder,
    features: str,
    num_frames: str,
    module: CausalConvolution,
    name: str,
    state: dict[str, str],
    after: dict[str, str],
) -> str:
    """`[batch, frames, input]` -> `[batch, frames / stride, output]`."""
    features = _after_overlap(graph, features, module.overlap, state.get(name))
    if name in state:
        after[name] = time_major(graph, _kept_before(graph, features, num_frames, module.overlap))
    convolution = module.convolution
    weights = [graph.weight(part) for part in (convolution.weight, convolution.bias) if part is not None]
    by_channel = graph.node("Transpose", features, perm=[0, 2, 1])
    found = graph.node("Conv", by_channel, *weights, strides=[module.stride])
    return graph.node("Transpose", graph.node("Relu", found), perm=[0, 2, 1])


def _after_overlap(
    graph: GraphBuilder, values: str, overlap: int, before: str | None, *, by_sample: bool = False
) -> str:
    """`values` `[batch, time, width]` after what was before them: the state, or zeros at the start of an input."""
    if not overlap:
        return values
    if before is None:
        return _zeros_before(graph, values, overlap, join=True)
    turned = graph.node("Transpose", before, perm=[1, 2, 0] if by_sample else [1, 0, 2])
    return graph.node("Concat", turned, values, axis=1)


def _zeros_before(graph: GraphBuilder, values: str, count: int, *, join: bool = False) -> str:
    """`count` steps of zeros, or `values` after them."""
    padded = graph.node("Pad", values, graph.integers(0, count, 0, 0, 0, 0))
    if join:
        return padded
    return graph.node("Slice", padded, graph.integers(0), graph.integers(count), graph.integers(1))


def _kept_before(graph: GraphBuilder, values: str, num_read: str, size: int) -> str:
    """`[batch, size, width]`: of `values`, which begin with `size` older steps, the last `size` up to `num_read`."""
    first = graph.node("Unsqueeze", num_read, graph.integers(1))
    index = graph.node("Add", first, graph.constant(np.arange(size, dtype=np.int64)[None]))
    return graph.node("GatherND", values, graph.node("Unsqueeze", index, graph.integers(2)), batch_dims=1)


def _one_more(graph: GraphBuilder, features: str) -> str:
    return graph.node("Add", axis_size(graph, features, axis=1), graph.integer(1))


def _constant(graph: GraphBuilder, values: Tensor) -> str:
    return graph.constant(values.cpu().numpy().astype(np.float32))
