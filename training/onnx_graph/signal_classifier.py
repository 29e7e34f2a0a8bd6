"""Graph writer of the signal classifier."""

from __future__ import annotations

from service.bundle.hidden_output import EMBEDDING
from training.networks.signal_classifier import SignalClassifier
from training.onnx_graph.parts.builder import GraphBuilder
from training.onnx_graph.parts.encoder import encoder_from_state, top_layer
from training.onnx_graph.parts.features import pooled
from training.onnx_graph.parts.front_end import front_end
from training.onnx_graph.parts.layers import hidden_layers, linear
from training.onnx_graph.parts.sequences import time_major
from training.onnx_graph.parts.state import state_inputs, state_outputs


def write_signal_classifier(graph: GraphBuilder, network: SignalClassifier) -> None:
    """Frames or samples -> logits, and what the output layer reads."""
    values, lengths = graph.input(network.input_name), graph.input("lengths")
    state = state_inputs(graph, network)
    by_row, steps = front_end(graph, values, lengths, network.front_end)
    outputs, after = encoder_from_state(graph, time_major(graph, by_row), steps, network.encoder, state)
    vector = pooled(graph, outputs, steps, network.pooling, top_layer(network.encoder))
    read = graph.named_output(EMBEDDING, hidden_layers(graph, vector, network.hidden))
    graph.output("logits", linear(graph, read, network.output))
    state_outputs(graph, network, after)
