"""Graph writers of the dependency parser."""

from __future__ import annotations

import numpy as np

from service.bundle.hidden_output import HIDDEN_STATES
from training.networks.parsing.biaffine import IMPOSSIBLE, SLOPE, ArcScorer, Projection, RelationScorer
from training.networks.parsing.parser import BiaffineHeads, LabelHeads, Parser
from training.onnx_graph.parts.builder import GraphBuilder
from training.onnx_graph.parts.encoder import recurrent_encoder
from training.onnx_graph.parts.features import with_characters
from training.onnx_graph.parts.layers import axis_size, embedding, linear
from training.onnx_graph.parts.sequences import time_major, time_major_ids


def write_parser(graph: GraphBuilder, network: Parser) -> None:
    """Words -> scores of tags, of arcs or labels that tell heads, and of features; what the output layers read."""
    words = time_major_ids(graph, graph.input("words"))
    embedded = embedding(graph, words, network.word_embedding)
    features = with_characters(graph, embedded, network.character_features, network.contextual)
    lengths = graph.input("lengths")
    outputs = recurrent_encoder(graph, features, lengths, network.encoder)
    read = graph.named_output(HIDDEN_STATES, time_major(graph, outputs))
    graph.output("emissions", linear(graph, read, network.tags))
    if isinstance(network.heads, BiaffineHeads):
        _biaffine_heads(graph, read, lengths, network.heads)
    else:
        _label_heads(graph, read, network.heads)
    if network.features is not None:
        graph.output("feature_logits", linear(graph, read, network.features))


def write_relations(graph: GraphBuilder, network: Parser) -> None:
    """Both sides of arcs, `[arcs, width]` each -> the scores of their relations, `[arcs, relations]`."""
    if not isinstance(network.heads, BiaffineHeads):
        raise ValueError("a parser whose heads are labels has no graph of relations")
    scorer: RelationScorer = network.heads.relations
    dependents, heads = graph.input("dependents"), graph.input("heads")
    shape = graph.integers(-1, scorer.num_relations, scorer.size)
    by_relation = graph.node("Reshape", linear(graph, dependents, scorer.bilinear), shape)
    columns = graph.node("Unsqueeze", heads, graph.integers(2))
    products = graph.node("Squeeze", graph.node("MatMul", by_relation, columns), graph.integers(2))
    graph.output("relation_logits", graph.node("Add", products, linear(graph, dependents, scorer.linear)))


def _label_heads(graph: GraphBuilder, words: str, module: LabelHeads) -> None:
    graph.output("offset_logits", linear(graph, words, module.offsets))
    graph.output("relation_logits", linear(graph, words, module.relations))


def _biaffine_heads(graph: GraphBuilder, words: str, lengths: str, module: BiaffineHeads) -> None:
    """`[batch, time, width]` -> the outputs `arc_scores`, `dependents` and `heads`."""
    candidates = _after_root(graph, words, module)
    graph.output("arc_scores", _arc_scores(graph, words, candidates, lengths, module.arcs))
    graph.output("dependents", projection(graph, words, module.relations.dependent))
    graph.output("heads", projection(graph, candidates, module.relations.head))


def _after_root(graph: GraphBuilder, words: str, module: BiaffineHeads) -> str:
    """`[batch, time, width]` -> `[batch, time + 1, width]` with the root in front of each row."""
    rows = graph.node("Shape", words, start=0, end=1)
    shape = graph.node("Concat", rows, graph.integers(1, module.root.shape[0]), axis=0)
    root = graph.node("Expand", graph.weight(module.root), shape)
    return graph.node("Concat", root, words, axis=1)


def _arc_scores(graph: GraphBuilder, words: str, candidates: str, lengths: str, scorer: ArcScorer) -> str:
    dependents = linear(graph, projection(graph, words, scorer.dependent), scorer.bilinear)
    heads = graph.node("Transpose", projection(graph, candidates, scorer.head), perm=[0, 2, 1])
    scores = graph.node("MatMul", dependents, heads)
    impossible = graph.constant(np.array(IMPOSSIBLE, dtype=np.float32))
    return graph.node("Where", _impossible_arcs(graph, candidates, lengths), impossible, scores)


def _impossible_arcs(graph: GraphBuilder, candidates: str, lengths: str) -> str:
    """bool `[batch, time, time + 1]`: whether a candidate is the word itself, or beyond the end of its row."""
    end = axis_size(graph, candidates, axis=1)
    places = graph.node("Range", graph.integer(0), end, graph.integer(1))
    own = graph.node("Range", graph.integer(1), end, graph.integer(1))
    is_own = graph.node("Equal", places, graph.node("Unsqueeze", own, graph.integers(1)))
    is_beyond = graph.node("Greater", places, graph.node("Unsqueeze", lengths, graph.integers(1, 2)))
    return graph.node("Or", is_beyond, is_own)


def projection(graph: GraphBuilder, words: str, module: Projection) -> str:
    """Linear layer and leaky ReLU."""
    return graph.node("LeakyRelu", linear(graph, words, module.linear), alpha=SLOPE)
