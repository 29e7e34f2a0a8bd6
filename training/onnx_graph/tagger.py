"""The tagger as a graph."""

from __future__ import annotations

from training.networks.tagger import Tagger
from training.onnx_graph.builder import GraphBuilder, Graphs
from training.onnx_graph.encoder import encoder_from_state
from training.onnx_graph.features import character_features
from training.onnx_graph.layers import embedding, linear
from training.onnx_graph.recurrence import time_major, time_major_ids
from training.onnx_graph.state import StateSize


def tagger_graphs(network: Tagger, half: bool) -> Graphs:
    """`tagger`: words, characters where the network reads them, lengths -> emissions.

    A network that reads chunks also takes the state after the chunk before, and gives the one after this.
    """
    graph = GraphBuilder("tagger", half)
    features = _features(graph, network)
    lengths = graph.input("lengths", "int64", ("batch",))
    size = StateSize.of_encoder(network.config)
    state = size.declare(graph) if network.reads_chunks else ()
    outputs, after = encoder_from_state(graph, features, lengths, network.encoder, state)
    emissions = linear(graph, time_major(graph, outputs), network.output)
    graph.output("emissions", emissions, "float32", ("batch", "time", network.output.out_features))
    if after:
        size.declare_next(graph, after)
    return {"tagger": graph}


def _features(graph: GraphBuilder, network: Tagger) -> str:
    """`[time, batch, width]`: what is known of each word."""
    words = time_major_ids(graph, graph.input("words", "int64", ("batch", "time")))
    features = embedding(graph, words, network.word_embedding)
    if network.character_features is None:
        return features
    characters = graph.input("characters", "int64", ("batch", "time", "chars"))
    by_time = graph.node("Transpose", characters, perm=[1, 0, 2])
    shapes = character_features(graph, by_time, network.character_features)
    return graph.node("Concat", features, shapes, axis=2)
