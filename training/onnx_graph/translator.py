"""The translator as graphs: the encoder with the decoder's first state, and one step of the decoder."""

from __future__ import annotations

from typing import cast

from torch import nn

from training.networks.recurrent import RecurrentLayer
from training.networks.translator import Translator
from training.onnx_graph.builder import GraphBuilder, Graphs
from training.onnx_graph.encoder import (
    final_state,
    joined_state,
    layer_states,
    recurrent_encoder,
    stateful_recurrence,
)
from training.onnx_graph.features import attention_energies
from training.onnx_graph.layers import embedding, linear, masked_softmax, valid_mask
from training.onnx_graph.recurrence import time_major, time_major_ids
from training.onnx_graph.state import StateSize


def translator_graphs(network: Translator, half: bool) -> Graphs:
    """`encoder`: tokens, lengths -> memory, memory_keys, first state; `decoder_step`: one target token a row."""
    return {"encoder": _encoder_graph(network, half), "decoder_step": _decoder_graph(network, half)}


def _encoder_graph(network: Translator, half: bool) -> GraphBuilder:
    graph = GraphBuilder("encoder", half)
    tokens = graph.input("tokens", "int64", ("batch", "time"))
    lengths = graph.input("lengths", "int64", ("batch",))
    embedded = embedding(graph, time_major_ids(graph, tokens), network.source_embedding)
    outputs = recurrent_encoder(graph, embedded, lengths, network.encoder)
    memory = time_major(graph, outputs)
    graph.output("memory", memory, "float32", ("batch", "time", network.encoder.output_size))
    keys = linear(graph, memory, network.attention.key)
    graph.output("memory_keys", keys, "float32", ("batch", "time", network.attention.key.out_features))
    final = final_state(graph, outputs, lengths, cast(RecurrentLayer, network.encoder.layers[-1]))
    size = _state_size(network)
    size.declare_next(graph, _bridged_state(graph, final, network, size))
    return graph


def _bridged_state(graph: GraphBuilder, final: str, network: Translator, size: StateSize) -> tuple[str, ...]:
    """`[batch, memory]` -> the decoder's first state, each part `[layers, batch, width]`."""
    num_parts = len(size.names)
    flat = graph.node("Tanh", linear(graph, final, network.bridge))
    table = graph.node("Reshape", flat, graph.integers(0, num_parts, size.layers, size.width))
    parts = graph.nodes("Split", table, num_outputs=num_parts, axis=1)
    by_row = [graph.node("Squeeze", part, graph.integers(1)) for part in parts]
    return tuple(graph.node("Transpose", part, perm=[1, 0, 2]) for part in by_row)


def _decoder_graph(network: Translator, half: bool) -> GraphBuilder:
    graph = GraphBuilder("decoder_step", half)
    size = _state_size(network)
    token = graph.input("token", "int64", ("batch",))
    memory = graph.input("memory", "float32", ("batch", "time", network.encoder.output_size))
    keys = graph.input("memory_keys", "float32", ("batch", "time", network.attention.key.out_features))
    lengths = graph.input("lengths", "int64", ("batch",))
    before = layer_states(graph, size.declare(graph), size.layers)
    embedded = embedding(graph, graph.node("Unsqueeze", token, graph.integers(0)), network.target_embedding)
    first, *further = (cast(nn.RNNBase, module) for module in network.decoder_layers)
    outputs, after = stateful_recurrence(graph, embedded, before[0], first)
    energies = attention_energies(graph, time_major(graph, outputs), keys, network.attention)
    weights = masked_softmax(graph, energies, valid_mask(graph, keys, lengths))
    context = _context(graph, weights, memory)
    afters = [after]
    for module, state in zip(further, before[1:], strict=True):
        inputs = graph.node("Concat", outputs, context, axis=2)
        outputs, after = stateful_recurrence(graph, inputs, state, module)
        afters.append(after)
    readout = linear(graph, graph.node("Concat", outputs, context, axis=2), network.readout)
    logits = linear(graph, graph.node("Tanh", graph.node("Squeeze", readout, graph.integers(0))), network.output)
    graph.output("logits", logits, "float32", ("batch", network.output.out_features))
    graph.output("attention", weights, "float32", ("batch", "time"))
    size.declare_next(graph, joined_state(graph, afters))
    return graph


def _context(graph: GraphBuilder, weights: str, memory: str) -> str:
    """`[batch, time]` and `[batch, time, width]` -> the weighted mean `[1, batch, width]`."""
    return time_major(graph, graph.node("MatMul", graph.node("Unsqueeze", weights, graph.integers(1)), memory))


def _state_size(network: Translator) -> StateSize:
    return StateSize(network.config.cell, len(network.decoder_layers), network.config.decoder_hidden_size)
