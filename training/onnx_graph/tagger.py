"""The tagger as a graph."""

from __future__ import annotations

from training.networks.tagger import Tagger
from training.onnx_graph.builder import GraphBuilder, Graphs
from training.onnx_graph.encoder import recurrent_encoder
from training.onnx_graph.features import character_features
from training.onnx_graph.layers import embedding, linear
from training.onnx_graph.recurrence import time_major, time_major_ids


def tagger_graphs(network: Tagger, half: bool) -> Graphs:
    """`tagger`: words, characters where the network reads them, lengths -> emissions."""
    graph = GraphBuilder("tagger", half)
    words = time_major_ids(graph, graph.input("words", "int64", ("batch", "time")))
    features = embedding(graph, words, network.word_embedding)
    if network.character_features is not None:
        characters = graph.input("characters", "int64", ("batch", "time", "chars"))
        by_time = graph.node("Transpose", characters, perm=[1, 0, 2])
        shapes = character_features(graph, by_time, network.character_features)
        features = graph.node("Concat", features, shapes, axis=2)
    lengths = graph.input("lengths", "int64", ("batch",))
    outputs = time_major(graph, recurrent_encoder(graph, features, lengths, network.encoder))
    emissions = linear(graph, outputs, network.output)
    graph.output("emissions", emissions, "float32", ("batch", "time", network.output.out_features))
    return {"tagger": graph}
