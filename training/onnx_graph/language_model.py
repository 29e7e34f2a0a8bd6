"""The language model as graphs: a padded prompt, and one step."""

from __future__ import annotations

from training.networks.language_model import LanguageModel
from training.onnx_graph.parts.builder import GraphBuilder, Graphs
from training.onnx_graph.parts.encoder import stateful_stack
from training.onnx_graph.parts.layers import embedding, linear
from training.onnx_graph.parts.recurrence import time_major, time_major_ids
from training.onnx_graph.parts.state import StateSize


def language_model_graphs(network: LanguageModel, half: bool) -> Graphs:
    """`prompt`: tokens, lengths, state -> logits, next state; `step`: the same for one token of each row."""
    return {"prompt": _prompt_graph(network, half), "step": _step_graph(network, half)}


def _prompt_graph(network: LanguageModel, half: bool) -> GraphBuilder:
    graph = GraphBuilder("prompt", half)
    tokens = graph.input("tokens", "int64", ("batch", "time"))
    lengths = graph.input("lengths", "int64", ("batch",))
    size = _state_size(network)
    state = size.declare(graph)
    embedded = embedding(graph, time_major_ids(graph, tokens), network.embedding)
    outputs, after = stateful_stack(graph, embedded, state, network.stack, lengths)
    logits = _logits(graph, time_major(graph, outputs), network)
    graph.output("logits", logits, "float32", ("batch", "time", network.output.out_features))
    size.declare_next(graph, after)
    return graph


def _step_graph(network: LanguageModel, half: bool) -> GraphBuilder:
    graph = GraphBuilder("step", half)
    token = graph.input("token", "int64", ("batch",))
    size = _state_size(network)
    state = size.declare(graph)
    embedded = embedding(graph, graph.node("Unsqueeze", token, graph.integers(0)), network.embedding)
    outputs, after = stateful_stack(graph, embedded, state, network.stack)
    logits = _logits(graph, graph.node("Squeeze", outputs, graph.integers(0)), network)
    graph.output("logits", logits, "float32", ("batch", network.output.out_features))
    size.declare_next(graph, after)
    return graph


def _logits(graph: GraphBuilder, outputs: str, network: LanguageModel) -> str:
    """`[..., hidden]` -> `[..., vocab]`."""
    features = outputs if network.projection is None else linear(graph, outputs, network.projection)
    return linear(graph, features, network.output)


def _state_size(network: LanguageModel) -> StateSize:
    return StateSize(network.config.cell, len(network.stack.layers), network.stack.hidden_size)
