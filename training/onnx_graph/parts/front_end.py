"""The front end of signal classifiers; the torch version is `networks/inputs/front_end.py`."""

from __future__ import annotations

from typing import cast

import numpy as np
from onnx import TensorProto
from torch import Tensor

from training.networks.inputs.front_end import VARIANCE_FLOOR, FrontEnd, StridedConvolution
from training.onnx_graph.parts.builder import GraphBuilder
from training.onnx_graph.parts.layers import fill_where, valid_mask
from training.preprocessing.spectrogram import POWER_FLOOR, Spectrogram


def front_end(graph: GraphBuilder, values: str, lengths: str, module: FrontEnd) -> tuple[str, str]:
    """Frames `[batch, time, features]` or samples `[batch, time]` -> `[batch, steps, size]`, and each row's steps."""
    if module.spectrogram is not None:
        values, lengths = spectrogram(graph, values, lengths, module.spectrogram)
    centred = graph.node("Sub", values, _constant(graph, module.mean))
    features = graph.node("Div", centred, _constant(graph, module.deviation))
    if module.config.normalise_each:
        features = normalised_each(graph, features, lengths)
    for part in module.convolutions:
        features, lengths = strided_convolution(graph, features, lengths, cast(StridedConvolution, part))
    return features, lengths


def spectrogram(graph: GraphBuilder, samples: str, lengths: str, module: Spectrogram) -> tuple[str, str]:
    """`[batch, time]` -> `[batch, steps, mel_bands]`: Fourier transform as a convolution, power, mel bands, log."""
    silent = fill_where(graph, valid_mask(graph, samples, lengths), samples, 0.0)
    row = graph.node("Unsqueeze", silent, graph.integers(1))
    basis = _constant(graph, module.basis.unsqueeze(1))
    waves = graph.node("Conv", row, basis, pads=list(module.padding), strides=[module.step])
    cosines, sines = graph.nodes("Split", waves, num_outputs=2, axis=1)
    power = graph.node("Add", graph.node("Mul", cosines, cosines), graph.node("Mul", sines, sines))
    by_step = graph.node("Transpose", power, perm=[0, 2, 1])
    bands = graph.node("MatMul", by_step, _constant(graph, module.filters))
    return graph.node("Log", graph.node("Add", bands, graph.scalar(POWER_FLOOR))), strided(graph, lengths, module.step)


def strided_convolution(
    graph: GraphBuilder, features: str, lengths: str, module: StridedConvolution
) -> tuple[str, str]:
    """`[batch, time, input]` -> `[batch, steps, output]`, with padding set to zero first."""
    convolution = module.convolution
    weights = [graph.weight(part) for part in (convolution.weight, convolution.bias) if part is not None]
    by_channel = graph.node("Transpose", _blanked(graph, features, lengths), perm=[0, 2, 1])
    found = graph.node("Conv", by_channel, *weights, pads=list(module.padding), strides=[module.stride])
    return graph.node("Transpose", graph.node("Relu", found), perm=[0, 2, 1]), strided(graph, lengths, module.stride)


def normalised_each(graph: GraphBuilder, features: str, lengths: str) -> str:
    """Features normalised to mean 0 and variance 1 over the steps of each row."""
    column = graph.node("Reshape", lengths, graph.integers(-1, 1, 1))
    count = graph.node("Cast", column, to=TensorProto.FLOAT)
    centred = graph.node("Sub", features, _mean(graph, _blanked(graph, features, lengths), count))
    squares = _blanked(graph, graph.node("Mul", centred, centred), lengths)
    variance = graph.node("Add", _mean(graph, squares, count), graph.scalar(VARIANCE_FLOOR))
    return graph.node("Div", centred, graph.node("Sqrt", variance))


def strided(graph: GraphBuilder, lengths: str, stride: int) -> str:
    """The lengths after keeping every `stride`-th step."""
    if stride == 1:
        return lengths
    before = graph.node("Sub", lengths, graph.integer(1))
    return graph.node("Add", graph.node("Div", before, graph.integer(stride)), graph.integer(1))


def _mean(graph: GraphBuilder, values: str, count: str) -> str:
    return graph.node("Div", graph.node("ReduceSum", values, graph.integers(1), keepdims=1), count)


def _blanked(graph: GraphBuilder, features: str, lengths: str) -> str:
    """Zero beyond each row's length."""
    mask = graph.node("Unsqueeze", valid_mask(graph, features, lengths), graph.integers(2))
    return fill_where(graph, mask, features, 0.0)


def _constant(graph: GraphBuilder, values: Tensor) -> str:
    return graph.constant(values.cpu().numpy().astype(np.float32))
