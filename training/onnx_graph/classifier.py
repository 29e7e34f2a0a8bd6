"""The classifier as a graph."""

from __future__ import annotations

from training.networks.classifier import Classifier
from training.onnx_graph.parts.builder import GraphBuilder, Graphs
from training.onnx_graph.parts.encoder import encoder_from_state, top_layer
from training.onnx_graph.parts.features import pooled, with_characters
from training.onnx_graph.parts.layers import embedding, hidden_layers, linear
from training.onnx_graph.parts.recurrence import time_major_ids
from training.onnx_graph.parts.state import StateSize


def classifier_graphs(network: Classifier, half: bool) -> Graphs:
    """`classifier`: tokens, characters where the network reads them, lengths -> logits.

    A network that reads chunks also takes the state after the chunk before, and gives the one after this.
    """
    graph = GraphBuilder("classifier", half)
    tokens = time_major_ids(graph, graph.input("tokens", "int64", ("batch", "time")))
    features = with_characters(graph, embedding(graph, tokens, network.embedding), network.character_features)
    lengths = graph.input("lengths", "int64", ("batch",))
    size = StateSize.of_encoder(network.config) if network.reads_chunks else None
    state = size.declare(graph) if size else ()
    outputs, after = encoder_from_state(graph, features, lengths, network.encoder, state)
    vector = pooled(graph, outputs, lengths, network.pooling, top_layer(network.encoder))
    logits = linear(graph, hidden_layers(graph, vector, network.hidden), network.output)
    graph.output("logits", logits, "float32", ("batch", network.output.out_features))
    if size:
        size.declare_next(graph, after)
    return {"classifier": graph}
