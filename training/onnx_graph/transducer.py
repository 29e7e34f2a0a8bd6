"""Graph writers of the transducer: the encoder, one step of the predictor, and the joint network for one pair."""

from __future__ import annotations

from training.networks.network import next_name
from training.networks.transducer import Transducer
from training.onnx_graph.parts.builder import GraphBuilder
from training.onnx_graph.parts.encoder import stateful_stack
from training.onnx_graph.parts.layers import embedding, linear
from training.onnx_graph.transcriber import write_speech_encoder


def write_transducer_encoder(graph: GraphBuilder, network: Transducer) -> None:
    """Samples or frames -> vectors for the joint network `[batch, steps, joint]`."""
    outputs = write_speech_encoder(graph, network, network.speech)
    graph.output("encoded", linear(graph, outputs, network.projection))


def write_predictor(graph: GraphBuilder, network: Transducer) -> None:
    """One token of each row -> the vector for the joint network, and the next state."""
    predictor = network.predictor
    token, state = graph.input("token"), [graph.input(name) for name in predictor.state_names]
    embedded = embedding(graph, graph.node("Unsqueeze", token, graph.integers(0)), predictor.embedding)
    outputs, after = stateful_stack(graph, embedded, state, predictor.stack)
    graph.output("predicted", linear(graph, graph.node("Squeeze", outputs, graph.integers(0)), predictor.projection))
    for name, value in zip(predictor.state_names, after, strict=True):
        graph.output(next_name(name), value)


def write_joint(graph: GraphBuilder, network: Transducer) -> None:
    """A vector of the encoder and one of the predictor -> log-probabilities of tokens `[batch, vocab]`."""
    joined = graph.node("Tanh", graph.node("Add", graph.input("encoded"), graph.input("predicted")))
    graph.output("log_probs", graph.node("LogSoftmax", linear(graph, joined, network.joint.output), axis=-1))
