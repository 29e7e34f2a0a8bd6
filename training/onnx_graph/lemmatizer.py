"""Graph writers of the lemmatizer: the encoder with the decoder's first state, and one decoder step."""

from __future__ import annotations

from typing import cast

import numpy as np

from training.networks.layers.recurrent import RecurrentLayer
from training.networks.parsing.lemmatizer import Lemmatizer
from training.onnx_graph.parts.builder import GraphBuilder
from training.onnx_graph.parts.cells import recurrence
from training.onnx_graph.parts.encoder import final_state, recurrent_encoder
from training.onnx_graph.parts.features import attention_energies
from training.onnx_graph.parts.layers import embedding, linear, masked_softmax, valid_mask
from training.onnx_graph.parts.sequences import time_major, time_major_ids


def write_lemma_encoder(graph: GraphBuilder, network: Lemmatizer) -> None:
    """Characters and tags of words -> memory, keys, and the decoder's first state."""
    characters, lengths = graph.input("characters"), graph.input("lengths")
    read = _with_tags(graph, time_major_ids(graph, characters), network)
    outputs = recurrent_encoder(graph, read, lengths, network.encoder)
    memory = time_major(graph, outputs)
    final = final_state(graph, outputs, lengths, cast(RecurrentLayer, network.encoder.layers[-1]))
    state = graph.node("Tanh", linear(graph, final, network.bridge))
    graph.output("memory", memory)
    graph.output("memory_keys", linear(graph, memory, network.attention.key))
    graph.output("next_hidden", graph.node("Unsqueeze", state, graph.integers(0)))


def write_lemma_decoder(graph: GraphBuilder, network: Lemmatizer) -> None:
    """The last character of each lemma -> the probabilities of the next one: written, or copied from the word."""
    memory, keys = graph.input("memory"), graph.input("memory_keys")
    letter = graph.node("Unsqueeze", graph.input("letter"), graph.integers(0))
    outputs, after = recurrence(graph, _with_tags(graph, letter, network), network.decoder, (graph.input("hidden"),))
    energies = attention_energies(graph, time_major(graph, outputs), keys, network.attention)
    mask = valid_mask(graph, keys, graph.input("lengths"))
    weights = graph.node("Unsqueeze", masked_softmax(graph, energies, mask), graph.integers(1))
    state, context = (
        graph.node("Squeeze", part, graph.integers(axis))
        for part, axis in ((outputs, 0), (graph.node("MatMul", weights, memory), 1))
    )
    found = graph.node("Concat", state, context, axis=1)
    graph.output("probabilities", _mixture(graph, found, weights, network))
    graph.output("next_hidden", after[0])


def _with_tags(graph: GraphBuilder, characters: str, network: Lemmatizer) -> str:
    """`[time, batch]` -> `[time, batch, width]`: the embedding of the tag stands beside that of every character."""
    of_characters = embedding(graph, characters, network.character_embedding)
    of_tags = embedding(graph, graph.input("tags"), network.tag_embedding)
    width = network.tag_embedding.embedding_dim
    shape = graph.node("Concat", graph.node("Shape", characters), graph.integers(width), axis=0)
    return graph.node("Concat", of_characters, graph.node("Expand", of_tags, shape), axis=2)


def _mixture(graph: GraphBuilder, found: str, weights: str, network: Lemmatizer) -> str:
    """`[batch, width]` and attention `[batch, 1, time]` -> the probability of each character `[batch, alphabet]`."""
    readout = graph.node("Tanh", linear(graph, found, network.readout))
    written = graph.node("Softmax", linear(graph, readout, network.output), axis=-1)
    share = graph.node("Sigmoid", linear(graph, found, network.generate))
    size = graph.integer(network.output.out_features)
    values = graph.constant(np.array([0, 1], dtype=np.float32))
    letters = graph.node("OneHot", graph.input("characters"), size, values, axis=-1)
    copied = graph.node("Squeeze", graph.node("MatMul", weights, letters), graph.integers(1))
    other = graph.node("Sub", graph.scalar(1.0), share)
    return graph.node("Add", graph.node("Mul", share, written), graph.node("Mul", other, copied))
