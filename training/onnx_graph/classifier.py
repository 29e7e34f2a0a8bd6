"""The classifier as a graph."""

from __future__ import annotations

from typing import cast

from training.networks.classifier import Classifier
from training.networks.recurrent import RecurrentLayer
from training.onnx_graph.builder import GraphBuilder, Graphs
from training.onnx_graph.encoder import encoder_from_state
from training.onnx_graph.features import pooled, with_characters
from training.onnx_graph.layers import embedding, linear
from training.onnx_graph.recurrence import time_major_ids
from training.onnx_graph.state import StateSize


def classifier_graphs(network: Classifier, half: bool) -> Graphs:
    """`classifier`: tokens, characters where the network reads them, lengths -> logits.

    A network that reads chunks also takes the state after the chunk before, and gives the one after this.
    """
    graph = GraphBuilder("classifier", half)
    tokens = time_major_ids(graph, graph.input("tokens", "int64", ("batch", "time")))
    features = with_characters(graph, embedding(graph, tokens, network.embedding), network.character_features)
    lengths = graph.input("lengths", "int64", ("batch",))
    size = StateSize.of_encoder(network.config)
    state = size.declare(graph) if network.reads_chunks else ()
    outputs, after = encoder_from_state(graph, features, lengths, network.encoder, state)
    vector = pooled(graph, outputs, lengths, network.pooling, cast(RecurrentLayer, network.encoder.layers[-1]))
    graph.output("logits", linear(graph, vector, network.output), "float32", ("batch", network.output.out_features))
    if after:
        size.declare_next(graph, after)
    return {"classifier": graph}
