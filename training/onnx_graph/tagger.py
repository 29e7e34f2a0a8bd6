"""Graph writer of the tagger."""

from __future__ import annotations

from typing import cast

from service.bundle.hidden_output import HIDDEN_STATES
from training.networks.layers.recurrent import RecurrentLayer
from training.networks.tagger import Tagger, TextHead
from training.onnx_graph.parts.builder import GraphBuilder
from training.onnx_graph.parts.encoder import encoder_from_state
from training.onnx_graph.parts.features import pooled, with_characters
from training.onnx_graph.parts.layers import embedding, linear
from training.onnx_graph.parts.sequences import time_major, time_major_ids
from training.onnx_graph.parts.state import state_inputs, state_outputs


def write_tagger(graph: GraphBuilder, network: Tagger) -> None:
    """Words -> emissions, what the output layer reads, and text_logits of a joint network."""
    words = time_major_ids(graph, graph.input("words"))
    embedded = embedding(graph, words, network.word_embedding)
    features = with_characters(graph, embedded, network.character_features, network.contextual)
    lengths = graph.input("lengths")
    state = state_inputs(graph, network)
    outputs, after = encoder_from_state(graph, features, lengths, network.encoder, state)
    read = graph.named_output(HIDDEN_STATES, time_major(graph, outputs))
    graph.output("emissions", linear(graph, read, network.output))
    if network.text_head is not None:
        top = cast(RecurrentLayer, network.encoder.layers[-1])
        _text_logits(graph, outputs, lengths, network.text_head, top)
    state_outputs(graph, network, after)


def _text_logits(graph: GraphBuilder, outputs: str, lengths: str, head: TextHead, top: RecurrentLayer) -> None:
    """`[time, batch, width]` of the `top` layer -> the output `text_logits`."""
    vector = pooled(graph, outputs, lengths, head.pooling, top)
    graph.output("text_logits", linear(graph, vector, head.output))
