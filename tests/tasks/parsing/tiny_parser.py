"""The graphs of tiny parsers: a forward LSTM, and scores of arcs or of encoded heads, with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from service.bundle.hidden_output import HIDDEN_STATES
from service.bundle.manifest import GraphSpec
from service.bundle.task_options import LemmatizerOptions, ParsingOptions
from tests.tiny_graph import EMBEDDING, HIDDEN, Graph, floats, ids

PARSER_TAGS = ("NOUN", "VERB", "DET")
_LEMMAS = LemmatizerOptions(table={"NOUN": {"1-": "cats"}, "VERB": {"2-it": "sat"}, "DET": {"0-": "the"}})
_OFFSETS = ("ROOT", "NOUN:+1", "NOUN:-1", "VERB:+1", "VERB:-1", "DET:+1", "DET:-1")


def parsing_options(decoder: Literal["biaffine", "labels"]) -> ParsingOptions:
    """Lemmas too with `biaffine`."""
    return ParsingOptions(
        decoder=decoder,
        relations=("root", "nsubj", "det", "obl"),
        offsets=_OFFSETS if decoder == "labels" else (),
        features=("_", "Number=Sing"),
        lemmatizer=_LEMMAS if decoder == "biaffine" else None,
    )


def write_parser_graphs(
    folder: Path, rng: np.random.Generator, vocabulary_size: int, options: ParsingOptions
) -> dict[str, GraphSpec]:
    graph = Graph(rng)
    embedded = graph.embedding("word", "words", vocabulary_size)
    y, *_ = graph.recurrent("LSTM", graph.time_first(embedded, "steps"), EMBEDDING, "")
    states = graph.batch_first(y, HIDDEN_STATES)
    sizes = {"emissions": len(PARSER_TAGS), "feature_logits": len(options.features)}
    if options.decoder == "labels":
        sizes |= {"offset_logits": len(options.offsets), "relation_logits": len(options.relations)}
    for output, size in sizes.items():
        graph.dense(states, HIDDEN, size, output)
    outputs = [
        *(floats(output, "batch", "time", size) for output, size in sizes.items()),
        floats(HIDDEN_STATES, "batch", "time", HIDDEN),
    ]
    inputs = [ids("words", "batch", "time"), ids("lengths", "batch")]
    if options.decoder == "labels":
        return {"parser": graph.save(folder / "parser.onnx", inputs, outputs)}
    _score_arcs(graph, states)
    outputs += [floats("arc_scores", "batch", "time", "candidates"), floats("dependents", "batch", "time", HIDDEN)]
    outputs.append(floats("heads", "batch", "candidates", HIDDEN))
    parser = graph.save(folder / "parser.onnx", inputs, outputs)
    return {"parser": parser, "relations": _relations(folder, rng, len(options.relations))}


def _relations(folder: Path, rng: np.random.Generator, size: int) -> GraphSpec:
    graph = Graph(rng)
    both = graph.node("Add", ["dependents", "heads"], "both")
    graph.dense(both, HIDDEN, size, "relation_logits")
    pairs = [floats("dependents", "arcs", HIDDEN), floats("heads", "arcs", HIDDEN)]
    return graph.save(folder / "relations.onnx", pairs, [floats("relation_logits", "arcs", size)])


def _score_arcs(graph: Graph, states: str) -> None:
    """`dependents`, `heads` with the vector of the root before those of words, and the dot products of all pairs."""
    graph.dense(states, HIDDEN, HIDDEN, "dependents")
    graph.dense(states, HIDDEN, HIDDEN, "head_words")
    first = graph.node("Slice", ["dependents", *_slice_of_first(graph)], "first_word")
    root = graph.node("Mul", [first, graph.constant("no_word", 0.0, np.float32)], "root")
    graph.node("Concat", [root, "head_words"], "heads", axis=1)
    columns = graph.node("Transpose", ["heads"], "head_columns", perm=[0, 2, 1])
    graph.node("MatMul", ["dependents", columns], "arc_scores")


def _slice_of_first(graph: Graph) -> list[str]:
    return [graph.constant(name, [value]) for name, value in (("from", 0), ("to", 1), ("along", 1))]
