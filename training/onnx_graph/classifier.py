"""The classifier as a graph."""

from __future__ import annotations

from typing import cast

from training.networks.classifier import Classifier
from training.networks.recurrent import RecurrentLayer
from training.onnx_graph.builder import GraphBuilder, Graphs
from training.onnx_graph.encoder import recurrent_encoder
from training.onnx_graph.features import pooled
from training.onnx_graph.layers import embedding, linear
from training.onnx_graph.recurrence import time_major_ids


def classifier_graphs(network: Classifier, half: bool) -> Graphs:
    """`classifier`: tokens, lengths -> logits."""
    graph = GraphBuilder("classifier", half)
    tokens = graph.input("tokens", "int64", ("batch", "time"))
    lengths = graph.input("lengths", "int64", ("batch",))
    embedded = embedding(graph, time_major_ids(graph, tokens), network.embedding)
    outputs = recurrent_encoder(graph, embedded, lengths, network.encoder)
    vector = pooled(graph, outputs, lengths, network.pooling, cast(RecurrentLayer, network.encoder.layers[-1]))
    graph.output("logits", linear(graph, vector, network.output), "float32", ("batch", network.output.out_features))
    return {"classifier": graph}
