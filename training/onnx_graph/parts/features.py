"""Character features, pooling and attention."""

from __future__ import annotations

from onnx import TensorProto

from training.networks.inputs.character_features import CharacterCNN, CharacterRNN
from training.networks.inputs.contextual import ContextualFeatures
from training.networks.inputs.word_features import CharacterEncoder
from training.networks.layers.attention import AdditiveAttention, Attention, DotAttention
from training.networks.layers.pooling import Pooling
from training.networks.layers.recurrent import RecurrentLayer
from training.onnx_graph.parts.builder import GraphBuilder
from training.onnx_graph.parts.contextual import contextual_features
from training.onnx_graph.parts.encoder import final_state, recurrent_layer
from training.onnx_graph.parts.layers import embedding, fill_where, linear, masked_softmax, valid_mask
from training.onnx_graph.parts.sequences import time_major


def character_features(graph: GraphBuilder, characters: str, module: CharacterCNN | CharacterRNN) -> str:
    """`[rows, columns, chars]` of ids -> `[rows, columns, width]`, one vector per word."""
    num_characters = graph.node("Shape", characters, start=2, end=3)
    one_word_a_row = graph.node("Concat", graph.integers(-1), num_characters, axis=0)
    flat = graph.node("Reshape", characters, one_word_a_row)
    if isinstance(module, CharacterCNN):
        words = character_cnn(graph, flat, module)
    else:
        words = character_rnn(graph, flat, module)
    table = graph.node("Concat", graph.node("Shape", characters, start=0, end=2), graph.integers(-1), axis=0)
    return graph.node("Reshape", words, table)


def with_characters(graph: GraphBuilder, embedded: str, *modules: CharacterEncoder | None) -> str:
    """Concatenate words `[time, batch, width]` with the features of their characters, from the input `characters`."""
    readers = [module for module in modules if module is not None]
    if not readers:
        return embedded
    characters = graph.input("characters")
    return graph.node("Concat", embedded, *(_features_of(graph, characters, reader) for reader in readers), axis=2)


def _features_of(graph: GraphBuilder, characters: str, reader: CharacterEncoder) -> str:
    """`[batch, time, chars]` of ids -> `[time, batch, width]`."""
    if isinstance(reader, ContextualFeatures):
        return contextual_features(graph, characters, reader)
    return character_features(graph, graph.node("Transpose", characters, perm=[1, 0, 2]), reader)


def character_cnn(graph: GraphBuilder, characters: str, module: CharacterCNN) -> str:
    """`[words, chars]` -> `[words, channels]`: convolution, ReLU, max pooling over the word."""
    convolution = module.convolution
    weights = [graph.weight(part) for part in (convolution.weight, convolution.bias) if part is not None]
    padding = int(convolution.padding[0])
    embedded = graph.node("Transpose", embedding(graph, characters, module.embedding), perm=[0, 2, 1])
    features = graph.node("Relu", graph.node("Conv", embedded, *weights, pads=[padding, padding]))
    inside = graph.node("Unsqueeze", _not_padding(graph, characters), graph.integers(1))
    return graph.node("ReduceMax", fill_where(graph, inside, features, 0.0), graph.integers(2), keepdims=0)


def character_rnn(graph: GraphBuilder, characters: str, module: CharacterRNN) -> str:
    """`[words, chars]` -> `[words, 2 * hidden]`: the final states. Padding words count as one character."""
    num_characters = graph.node("Cast", _not_padding(graph, characters), to=TensorProto.INT64)
    counted = graph.node("ReduceSum", num_characters, graph.integers(1), keepdims=0)
    lengths = graph.node("Max", counted, graph.integer(1))
    embedded = embedding(graph, graph.node("Transpose", characters, perm=[1, 0]), module.embedding)
    outputs = recurrent_layer(graph, embedded, lengths, module.layer)
    return final_state(graph, outputs, lengths, module.layer)


def _not_padding(graph: GraphBuilder, ids: str) -> str:
    return graph.node("Greater", ids, graph.integer(0))


def pooled(graph: GraphBuilder, outputs: str, lengths: str, pooling: Pooling, top: RecurrentLayer | None) -> str:
    """`[time, batch, size]` of the encoder's `top` layer -> `[batch, output_size]`."""
    parts = [_pooled_part(graph, part, outputs, lengths, pooling, top) for part in pooling.parts]
    return parts[0] if len(parts) == 1 else graph.node("Concat", *parts, axis=1)


def _pooled_part(
    graph: GraphBuilder, part: str, outputs: str, lengths: str, pooling: Pooling, top: RecurrentLayer | None
) -> str:
    if part == "last":
        assert top is not None
        return final_state(graph, outputs, lengths, top)
    by_row = time_major(graph, outputs)
    mask = valid_mask(graph, by_row, lengths)
    inside = graph.node("Unsqueeze", mask, graph.integers(2))
    if part == "max":
        return graph.node("ReduceMax", fill_where(graph, inside, by_row, -1e9), graph.integers(1), keepdims=0)
    if part == "mean":
        total = graph.node("ReduceSum", fill_where(graph, inside, by_row, 0.0), graph.integers(1), keepdims=0)
        count = graph.node("Cast", graph.node("Unsqueeze", lengths, graph.integers(1)), to=TensorProto.FLOAT)
        return graph.node("Div", total, count)
    return attention_pooled(graph, by_row, mask, pooling)


def attention_pooled(graph: GraphBuilder, outputs: str, mask: str, pooling: Pooling) -> str:
    """`[batch, time, size]` -> `[batch, size]`, weighted by a learned softmax over the valid steps."""
    if pooling.projection is None or pooling.energy is None:
        raise ValueError("attention pooling needs its projection and its energy layer")
    projected = graph.node("Tanh", linear(graph, outputs, pooling.projection))
    energies = graph.node("Squeeze", linear(graph, projected, pooling.energy), graph.integers(2))
    weights = graph.node("Unsqueeze", masked_softmax(graph, energies, mask), graph.integers(1))
    return graph.node("Squeeze", graph.node("MatMul", weights, outputs), graph.integers(1))


def attention_energies(graph: GraphBuilder, query: str, keys: str, module: Attention, coverage: str = "") -> str:
    """One query `[batch, 1, width]` against keys `[batch, time, key]` -> `[batch, time]`.

    `coverage` `[batch, time]` is for additive attention with coverage.
    """
    projected = linear(graph, query, module.query) if isinstance(module, AdditiveAttention | DotAttention) else query
    if isinstance(module, AdditiveAttention):
        summed = graph.node("Add", projected, keys)
        if module.coverage is not None:
            column = graph.node("Unsqueeze", coverage, graph.integers(2))
            summed = graph.node("Add", summed, linear(graph, column, module.coverage))
        return graph.node("Squeeze", linear(graph, graph.node("Tanh", summed), module.energy), graph.integers(2))
    products = graph.node("MatMul", projected, graph.node("Transpose", keys, perm=[0, 2, 1]))
    energies = graph.node("Squeeze", products, graph.integers(1))
    return graph.node("Mul", energies, graph.scalar(module.scale)) if isinstance(module, DotAttention) else energies
