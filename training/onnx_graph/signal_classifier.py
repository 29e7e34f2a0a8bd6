"""The classifier of numbers as a graph."""

from __future__ import annotations

from training.networks.signal_classifier import SignalClassifier
from training.onnx_graph.parts.builder import GraphBuilder, Graphs
from training.onnx_graph.parts.encoder import encoder_from_state, top_layer
from training.onnx_graph.parts.features import pooled
from training.onnx_graph.parts.front_end import front_end
from training.onnx_graph.parts.layers import hidden_layers, linear
from training.onnx_graph.parts.recurrence import time_major
from training.onnx_graph.parts.state import StateSize


def signal_classifier_graphs(network: SignalClassifier, half: bool) -> Graphs:
    """`classifier`: frames or samples, lengths -> logits.

    A network that reads chunks also takes the state after the chunk before, and gives the one after this.
    """
    graph = GraphBuilder("classifier", half)
    features = () if network.input_name == "samples" else (len(network.front_end.mean),)
    values = graph.input(network.input_name, "float32", ("batch", "time", *features))
    lengths = graph.input("lengths", "int64", ("batch",))
    size = StateSize.of_encoder(network.config) if network.reads_chunks else None
    state = size.declare(graph) if size else ()
    by_row, steps = front_end(graph, values, lengths, network.front_end)
    outputs, after = encoder_from_state(graph, time_major(graph, by_row), steps, network.encoder, state)
    vector = pooled(graph, outputs, steps, network.pooling, top_layer(network.encoder))
    logits = linear(graph, hidden_layers(graph, vector, network.hidden), network.output)
    graph.output("logits", logits, "float32", ("batch", network.output.out_features))
    if size:
        size.declare_next(graph, after)
    return {"classifier": graph}
