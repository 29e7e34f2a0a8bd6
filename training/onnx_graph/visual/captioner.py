"""Graph writers of the captioner: the encoder with the decoder's first state, and one decoder step."""

from __future__ import annotations

import numpy as np
import torch
from onnx import TensorProto
from torch import nn

from training.networks.inputs.image_encoder import ConvolutionLayer, ImageEncoder
from training.networks.visual.caption_decoder import CaptionDecoder
from training.networks.visual.captioner import Captioner
from training.onnx_graph.parts.builder import GraphBuilder
from training.onnx_graph.parts.cells import recurrence
from training.onnx_graph.parts.features import attention_energies
from training.onnx_graph.parts.layers import embedding, linear, masked_softmax, one_at_maximum, valid_mask
from training.onnx_graph.parts.sequences import time_major
from training.onnx_graph.parts.state import state_inputs, state_outputs


def write_captioner_encoder(graph: GraphBuilder, network: Captioner) -> None:
    """Pixels -> memory, keys, and the decoder's first state."""
    config = network.config
    width, grid = config.channels[-1], config.grid_rows * config.grid_columns
    pixels = graph.node("Cast", graph.input("pixels"), to=TensorProto.FLOAT)
    scaled = graph.node("Div", pixels, graph.scalar(127.5))
    images = graph.node("Transpose", graph.node("Sub", scaled, graph.scalar(1.0)), perm=[0, 3, 1, 2])
    features = image_encoder(graph, images, network.encoder)
    by_place = graph.node("Transpose", features, perm=[0, 2, 3, 1])
    memory = graph.node("Reshape", by_place, graph.integers(0, grid, width))
    graph.output("memory", memory)
    graph.output("memory_keys", linear(graph, memory, network.attention.key))
    first_state(graph, network, graph.node("ReduceMean", memory, graph.integers(1), keepdims=0))


def first_state(graph: GraphBuilder, network: CaptionDecoder, mean: str) -> None:
    """Write the decoder's first state, from the mean of the memory `[batch, size]`."""
    factor, summand = folded_batch_norm(network.normalise)
    summary = graph.node("Add", graph.node("Mul", mean, graph.constant(factor)), graph.constant(summand))
    first = graph.node("Tanh", linear(graph, summary, network.bridge))
    parts = graph.nodes("Split", first, num_outputs=network.num_states, axis=1)
    state_outputs(graph, network, [graph.node("Unsqueeze", part, graph.integers(0)) for part in parts])


def image_encoder(graph: GraphBuilder, images: str, module: ImageEncoder) -> str:
    """`[batch, 3, rows, columns]` -> `[batch, channels, grid rows, grid columns]`."""
    features = images
    for number, stage in enumerate(module.stages):
        if number:
            features = graph.node("MaxPool", features, kernel_shape=[2, 2], strides=[2, 2])
        assert isinstance(stage, nn.ModuleList)
        for layer in stage:
            assert isinstance(layer, ConvolutionLayer)
            features = _convolution_layer(graph, features, layer)
    return features


def _convolution_layer(graph: GraphBuilder, features: str, layer: ConvolutionLayer) -> str:
    """Batch normalisation as a product and a sum for each channel, which a runtime fuses into the convolution.

    Both are stored in single precision, also beside half-precision weights: they are few.
    """
    module, normalise = layer.convolution, layer.normalise
    stride = int(module.stride[0])
    sums = graph.node("Conv", features, graph.weight(module.weight), pads=[1, 1, 1, 1], strides=[stride, stride])
    factor, summand = folded_batch_norm(normalise)
    scaled = graph.node("Mul", sums, graph.constant(factor.reshape(-1, 1, 1)))
    return graph.node("Relu", graph.node("Add", scaled, graph.constant(summand.reshape(-1, 1, 1))))


def folded_batch_norm(module: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[np.ndarray, np.ndarray]:
    """Factor and summand of batch normalisation in evaluation: float32 `[channels]` each."""
    assert module.running_mean is not None
    assert module.running_var is not None
    with torch.no_grad():
        factor = module.weight.double() / (module.running_var.double() + module.eps).sqrt()
        summand = module.bias.double() - module.running_mean.double() * factor
    return factor.float().numpy(), summand.float().numpy()


def write_captioner_step(graph: GraphBuilder, network: Captioner) -> None:
    """One decoder step; attention comes before the recurrence."""
    memory, keys = graph.input("memory"), graph.input("memory_keys")
    mask = valid_mask(graph, keys, graph.input("lengths"))
    graph.output("attention", caption_step(graph, network, memory, keys, mask))


def caption_step(graph: GraphBuilder, network: CaptionDecoder, memory: str, keys: str, mask: str) -> str:
    """Write one step over a memory `[batch, places, size]`, all but its output `attention` `[batch, places]`."""
    token = graph.input("token")
    before = state_inputs(graph, network)
    query = time_major(graph, before[0])
    energies = attention_energies(graph, query, keys, network.attention)
    hard = network.caption_config.hard_attention
    weights = one_at_maximum(graph, energies, mask) if hard else masked_softmax(graph, energies, mask)
    looked = graph.node("MatMul", graph.node("Unsqueeze", weights, graph.integers(1)), memory)
    gate = graph.node("Sigmoid", linear(graph, query, network.gate))
    context = time_major(graph, graph.node("Mul", gate, looked))
    word = embedding(graph, graph.node("Unsqueeze", token, graph.integers(0)), network.embedding)
    step = graph.node("Concat", word, context, axis=2)
    outputs, after = recurrence(graph, step, network.decoder, before)
    found = graph.node("Squeeze", graph.node("Concat", word, outputs, context, axis=2), graph.integers(0))
    logits = linear(graph, graph.node("Tanh", linear(graph, found, network.readout)), network.output)
    graph.output("logits", logits)
    state_outputs(graph, network, after)
    return weights
