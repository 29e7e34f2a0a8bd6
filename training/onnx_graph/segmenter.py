"""Graph writer of the segmenter."""

from __future__ import annotations

from training.networks.parsing.segmenter import Segmenter
from training.onnx_graph.parts.builder import GraphBuilder
from training.onnx_graph.parts.encoder import recurrent_encoder
from training.onnx_graph.parts.layers import embedding, linear
from training.onnx_graph.parts.sequences import time_major, time_major_ids


def write_segmenter(graph: GraphBuilder, network: Segmenter) -> None:
    """Characters -> logits of their classes `[batch, time, classes]`."""
    characters = time_major_ids(graph, graph.input("characters"))
    read = embedding(graph, characters, network.character_embedding)
    outputs = recurrent_encoder(graph, read, graph.input("lengths"), network.encoder)
    graph.output("boundary_logits", linear(graph, time_major(graph, outputs), network.output))
