"""Graph writers of the translator: the encoder with the decoder's first state, and one decoder step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np
from torch import nn

from training.networks.layers.recurrent import RecurrentLayer
from training.networks.network import StateShape
from training.networks.translator import Translator
from training.onnx_graph.parts.builder import GraphBuilder
from training.onnx_graph.parts.cells import recurrence
from training.onnx_graph.parts.encoder import final_state, joined_state, layer_states, recurrent_encoder
from training.onnx_graph.parts.features import attention_energies
from training.onnx_graph.parts.layers import axis_size, embedding, linear, masked_softmax, valid_mask
from training.onnx_graph.parts.sequences import time_major, time_major_ids
from training.onnx_graph.parts.state import state_inputs, state_outputs


def write_translator_encoder(graph: GraphBuilder, network: Translator) -> None:
    """Tokens -> memory, keys, and the decoder's first state."""
    tokens, lengths = graph.input("tokens"), graph.input("lengths")
    embedded = embedding(graph, time_major_ids(graph, tokens), network.source_embedding)
    outputs = recurrent_encoder(graph, embedded, lengths, network.encoder)
    memory = time_major(graph, outputs)
    graph.output("memory", memory)
    key = network.attention.key
    graph.output("memory_keys", linear(graph, memory, key) if isinstance(key, nn.Linear) else memory)
    final = final_state(graph, outputs, lengths, cast(RecurrentLayer, network.encoder.layers[-1]))
    state_outputs(graph, network, _first_state(graph, final, lengths, network))


def _first_state(graph: GraphBuilder, final: str, lengths: str, network: Translator) -> list[str]:
    """`[batch, memory]` -> the decoder's first state: the recurrent part from the encoder, the rest zero."""
    shapes, num_parts = list(network.state_shapes.values()), network.num_states
    size = shapes[0]
    flat = graph.node("Tanh", linear(graph, final, network.bridge))
    table = graph.node("Reshape", flat, graph.integers(0, num_parts, size.layers, size.width))
    parts = graph.nodes("Split", table, num_outputs=num_parts, axis=1)
    by_row = [graph.node("Squeeze", part, graph.integers(1)) for part in parts]
    first = [graph.node("Transpose", part, perm=[1, 0, 2]) for part in by_row]
    return first + [_zeros(graph, shape, lengths) for shape in shapes[num_parts:]]


def _zeros(graph: GraphBuilder, shape: StateShape, lengths: str) -> str:
    """`[layers, batch, width]` of zeros."""
    one_row = graph.constant(np.zeros((shape.layers, 1, shape.width), dtype=np.float32))
    rows = graph.node("Concat", graph.integers(1), graph.node("Shape", lengths), graph.integers(1), axis=0)
    return graph.node("Expand", one_row, rows)


def write_translator_step(graph: GraphBuilder, network: Translator) -> None:
    """One decoder step; the first layer's output is the query of the attention."""
    token, lengths = graph.input("token"), graph.input("lengths")
    memory, keys = graph.input("memory"), graph.input("memory_keys")
    state = dict(zip(network.state_shapes, state_inputs(graph, network), strict=True))
    before = layer_states(graph, list(state.values())[: network.num_states], len(network.decoder_layers))
    read = embedding(graph, graph.node("Unsqueeze", token, graph.integers(0)), network.target_embedding)
    if "feed" in state:
        read = graph.node("Concat", read, state["feed"], axis=2)
    first, *further = network.decoder_layers
    outputs, after = recurrence(graph, read, first, before[0])
    weights = _weights(graph, time_major(graph, outputs), keys, lengths, network, state)
    context = _context(graph, weights, memory)
    afters = [after]
    for module, parts in zip(further, before[1:], strict=True):
        inputs = graph.node("Concat", outputs, context, axis=2)
        outputs, after = recurrence(graph, inputs, module, parts)
        afters.append(after)
    found = graph.node("Concat", outputs, context, axis=2)
    readout = graph.node("Tanh", linear(graph, found, network.readout))
    logits = linear(graph, graph.node("Squeeze", readout, graph.integers(0)), network.output)
    graph.output("logits", logits)
    graph.output("attention", weights)
    if network.generate is not None:
        gate = linear(graph, found, network.generate)
        graph.output("generate_logit", graph.node("Squeeze", gate, graph.integers(0, 2)))
    next_state = list(joined_state(graph, afters))
    if "feed" in state:
        next_state.append(readout)
    if "coverage" in state:
        next_state.append(_covered_after(graph, state["coverage"], weights, network.max_source_tokens))
    state_outputs(graph, network, next_state)


def _weights(
    graph: GraphBuilder, query: str, keys: str, lengths: str, network: Translator, state: Mapping[str, str]
) -> str:
    """One query `[batch, 1, width]` -> attention weights `[batch, time]`."""
    coverage = _covered_before(graph, state["coverage"], keys) if "coverage" in state else ""
    energies = attention_energies(graph, query, keys, network.attention, coverage)
    return masked_softmax(graph, energies, valid_mask(graph, keys, lengths))


def _covered_before(graph: GraphBuilder, coverage: str, keys: str) -> str:
    """The state `[1, batch, width]` as `[batch, time]`: cut, or padded with zeros."""
    time = graph.node("Unsqueeze", axis_size(graph, keys, axis=1), graph.integers(0))
    pads = graph.node("Concat", graph.integers(0, 0, 0), time, axis=0)
    padded = graph.node("Pad", graph.node("Squeeze", coverage, graph.integers(0)), pads)
    return graph.node("Slice", padded, graph.integers(0), time, graph.integers(1))


def _covered_after(graph: GraphBuilder, coverage: str, weights: str, width: int) -> str:
    """The state plus the attention weights `[batch, time]` of this step."""
    padded = graph.node("Pad", weights, graph.integers(0, 0, 0, width))
    fitted = graph.node("Slice", padded, graph.integers(0), graph.integers(width), graph.integers(1))
    return graph.node("Add", coverage, graph.node("Unsqueeze", fitted, graph.integers(0)))


def _context(graph: GraphBuilder, weights: str, memory: str) -> str:
    """`[batch, time]` and `[batch, time, width]` -> the weighted mean `[1, batch, width]`."""
    return time_major(graph, graph.node("MatMul", graph.node("Unsqueeze", weights, graph.integers(1)), memory))
