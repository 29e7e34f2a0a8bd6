"""The tagger as a graph."""

from __future__ import annotations

from typing import cast

from training.networks.layers.recurrent import RecurrentLayer
from training.networks.tagger import Tagger, TextHead
from training.onnx_graph.parts.builder import GraphBuilder, Graphs
from training.onnx_graph.parts.encoder import encoder_from_state
from training.onnx_graph.parts.features import pooled, with_characters
from training.onnx_graph.parts.layers import embedding, linear
from training.onnx_graph.parts.recurrence import time_major, time_major_ids
from training.onnx_graph.parts.state import StateSize


def tagger_graphs(network: Tagger, half: bool) -> Graphs:
    """`tagger`: words, characters where the network reads them, lengths -> emissions, and text_logits if it is joint.

    A network that reads chunks also takes the state after the chunk before, and gives the one after this.
    """
    graph = GraphBuilder("tagger", half)
    words = time_major_ids(graph, graph.input("words", "int64", ("batch", "time")))
    embedded = embedding(graph, words, network.word_embedding)
    features = with_characters(graph, embedded, network.character_features, network.contextual)
    lengths = graph.input("lengths", "int64", ("batch",))
    size = StateSize.of_encoder(network.config)
    state = size.declare(graph) if network.reads_chunks else ()
    outputs, after = encoder_from_state(graph, features, lengths, network.encoder, state)
    emissions = linear(graph, time_major(graph, outputs), network.output)
    graph.output("emissions", emissions, "float32", ("batch", "time", network.output.out_features))
    if network.text_head is not None:
        top = cast(RecurrentLayer, network.encoder.layers[-1])
        _text_logits(graph, outputs, lengths, network.text_head, top)
    if after:
        size.declare_next(graph, after)
    return {"tagger": graph}


def _text_logits(graph: GraphBuilder, outputs: str, lengths: str, head: TextHead, top: RecurrentLayer) -> None:
    """`[time, batch, width]` of the `top` layer -> the output `text_logits`."""
    vector = pooled(graph, outputs, lengths, head.pooling, top)
    graph.output("text_logits", linear(graph, vector, head.output), "float32", ("batch", head.output.out_features))
