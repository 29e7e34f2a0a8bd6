"""The captioner as graphs: the encoder with the decoder's first state, and one step of the decoder."""

from __future__ import annotations

import numpy as np
import torch
from onnx import TensorProto
from torch import nn

from training.networks.captioner import Captioner
from training.networks.inputs.image_encoder import ConvolutionLayer, PictureEncoder
from training.onnx_graph.parts.builder import GraphBuilder, Graphs
from training.onnx_graph.parts.encoder import stateful_recurrence
from training.onnx_graph.parts.features import attention_energies
from training.onnx_graph.parts.layers import embedding, linear, masked_softmax, valid_mask
from training.onnx_graph.parts.recurrence import time_major
from training.onnx_graph.parts.state import StateSize


def captioner_graphs(network: Captioner, half: bool) -> Graphs:
    """`encoder`: pixels -> memory, memory_keys, first state; `decoder_step`: one token a row."""
    return {"encoder": _encoder_graph(network, half), "decoder_step": _decoder_graph(network, half)}


def _encoder_graph(network: Captioner, half: bool) -> GraphBuilder:
    graph = GraphBuilder("encoder", half)
    config = network.config
    width, grid = config.channels[-1], config.grid_rows * config.grid_columns
    pixels = graph.input("pixels", "uint8", ("batch", config.image_rows, config.image_columns, 3))
    scaled = graph.node("Div", graph.node("Cast", pixels, to=TensorProto.FLOAT), graph.scalar(127.5))
    pictures = graph.node("Transpose", graph.node("Sub", scaled, graph.scalar(1.0)), perm=[0, 3, 1, 2])
    features = picture_encoder(graph, pictures, network.encoder)
    by_place = graph.node("Transpose", features, perm=[0, 2, 3, 1])
    memory = graph.node("Reshape", by_place, graph.integers(0, grid, width))
    graph.output("memory", memory, "float32", ("batch", grid, width))
    keys = linear(graph, memory, network.attention.key)
    graph.output("memory_keys", keys, "float32", ("batch", grid, network.attention.key_size))
    mean = graph.node("ReduceMean", memory, graph.integers(1), keepdims=0)
    factor, summand = folded(network.normalise)
    summary = graph.node("Add", graph.node("Mul", mean, graph.constant(factor)), graph.constant(summand))
    first = graph.node("Tanh", linear(graph, summary, network.bridge))
    size = _state_size(network)
    parts = graph.nodes("Split", first, num_outputs=network.num_states, axis=1)
    size.declare_next(graph, [graph.node("Unsqueeze", part, graph.integers(0)) for part in parts])
    return graph


def picture_encoder(graph: GraphBuilder, pictures: str, module: PictureEncoder) -> str:
    """`[batch, 3, rows, columns]` -> `[batch, channels, grid rows, grid columns]`."""
    features = pictures
    for number, stage in enumerate(module.stages):
        if number:
            features = graph.node("MaxPool", features, kernel_shape=[2, 2], strides=[2, 2])
        assert isinstance(stage, nn.ModuleList)
        for layer in stage:
            assert isinstance(layer, ConvolutionLayer)
            features = _convolution_layer(graph, features, layer)
    return features


def _convolution_layer(graph: GraphBuilder, features: str, layer: ConvolutionLayer) -> str:
    """Normalisation as one product and one sum for each channel, which a runtime folds into the convolution.

    They are single precision beside half-precision weights: there are few of them, and they need not be rounded.
    """
    module, normalise = layer.convolution, layer.normalise
    stride = int(module.stride[0])
    sums = graph.node("Conv", features, graph.weight(module.weight), pads=[1, 1, 1, 1], strides=[stride, stride])
    factor, summand = folded(normalise)
    scaled = graph.node("Mul", sums, graph.constant(factor.reshape(-1, 1, 1)))
    return graph.node("Relu", graph.node("Add", scaled, graph.constant(summand.reshape(-1, 1, 1))))


def folded(module: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[np.ndarray, np.ndarray]:
    """What batch normalisation multiplies by and adds once its statistics stand: float32 `[channels]` each."""
    assert module.running_mean is not None
    assert module.running_var is not None
    with torch.no_grad():
        factor = module.weight.double() / (module.running_var.double() + module.eps).sqrt()
        summand = module.bias.double() - module.running_mean.double() * factor
    return factor.float().numpy(), summand.float().numpy()


def _decoder_graph(network: Captioner, half: bool) -> GraphBuilder:
    graph = GraphBuilder("decoder_step", half)
    config, size = network.config, _state_size(network)
    token = graph.input("token", "int64", ("batch",))
    memory = graph.input("memory", "float32", ("batch", "time", config.channels[-1]))
    keys = graph.input("memory_keys", "float32", ("batch", "time", network.attention.key_size))
    lengths = graph.input("lengths", "int64", ("batch",))
    before = size.declare(graph)
    query = time_major(graph, before[0])
    energies = attention_energies(graph, query, keys, network.attention)
    weights = masked_softmax(graph, energies, valid_mask(graph, keys, lengths))
    looked = graph.node("MatMul", graph.node("Unsqueeze", weights, graph.integers(1)), memory)
    gate = graph.node("Sigmoid", linear(graph, query, network.gate))
    context = time_major(graph, graph.node("Mul", gate, looked))
    word = embedding(graph, graph.node("Unsqueeze", token, graph.integers(0)), network.embedding)
    step = graph.node("Concat", word, context, axis=2)
    outputs, after = stateful_recurrence(graph, step, before, network.decoder)
    found = graph.node("Squeeze", graph.node("Concat", word, outputs, context, axis=2), graph.integers(0))
    logits = linear(graph, graph.node("Tanh", linear(graph, found, network.readout)), network.output)
    graph.output("logits", logits, "float32", ("batch", network.output.out_features))
    graph.output("attention", weights, "float32", ("batch", "time"))
    size.declare_next(graph, after)
    return graph


def _state_size(network: Captioner) -> StateSize:
    return StateSize(network.config.cell, 1, network.config.hidden_size)
