"""Graph writers of the language model: a padded prompt (prefill), and one step."""

from __future__ import annotations

from service.bundle.hidden_output import HIDDEN_STATES
from training.networks.language_model import LanguageModel
from training.onnx_graph.parts.builder import GraphBuilder
from training.onnx_graph.parts.encoder import stateful_stack
from training.onnx_graph.parts.layers import embedding, linear
from training.onnx_graph.parts.sequences import time_major, time_major_ids
from training.onnx_graph.parts.state import state_inputs, state_outputs


def write_prompt(graph: GraphBuilder, network: LanguageModel) -> None:
    """A padded prompt -> logits of every token, what the output layer reads, and the state after each row's last."""
    tokens, lengths = graph.input("tokens"), graph.input("lengths")
    state = state_inputs(graph, network)
    embedded = embedding(graph, time_major_ids(graph, tokens), network.embedding)
    outputs, after = stateful_stack(graph, embedded, state, network.stack, lengths)
    read = graph.named_output(HIDDEN_STATES, _projected(graph, time_major(graph, outputs), network))
    graph.output("logits", linear(graph, read, network.output))
    state_outputs(graph, network, after)


def write_step(graph: GraphBuilder, network: LanguageModel) -> None:
    """One token of each row -> its logits and the next state."""
    token, state = graph.input("token"), state_inputs(graph, network)
    embedded = embedding(graph, graph.node("Unsqueeze", token, graph.integers(0)), network.embedding)
    outputs, after = stateful_stack(graph, embedded, state, network.stack)
    read = _projected(graph, graph.node("Squeeze", outputs, graph.integers(0)), network)
    graph.output("logits", linear(graph, read, network.output))
    state_outputs(graph, network, after)


def _projected(graph: GraphBuilder, outputs: str, network: LanguageModel) -> str:
    """`[..., hidden]` -> the input of the output layer."""
    return outputs if network.projection is None else linear(graph, outputs, network.projection)
