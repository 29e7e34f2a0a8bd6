"""Graph writer of the text classifier."""

from __future__ import annotations

from service.bundle.hidden_output import EMBEDDING
from training.networks.classifier import Classifier
from training.onnx_graph.parts.builder import GraphBuilder
from training.onnx_graph.parts.encoder import encoder_from_state, top_layer
from training.onnx_graph.parts.features import pooled, with_characters
from training.onnx_graph.parts.layers import embedding, hidden_layers, linear
from training.onnx_graph.parts.sequences import time_major_ids
from training.onnx_graph.parts.state import state_inputs, state_outputs


def write_classifier(graph: GraphBuilder, network: Classifier) -> None:
    """Tokens -> logits, and what the output layer reads."""
    tokens = time_major_ids(graph, graph.input("tokens"))
    features = with_characters(graph, embedding(graph, tokens, network.embedding), network.character_features)
    lengths = graph.input("lengths")
    state = state_inputs(graph, network)
    outputs, after = encoder_from_state(graph, features, lengths, network.encoder, state)
    vector = pooled(graph, outputs, lengths, network.pooling, top_layer(network.encoder))
    read = graph.named_output(EMBEDDING, hidden_layers(graph, vector, network.hidden))
    graph.output("logits", linear(graph, read, network.output))
    state_outputs(graph, network, after)
