"""The menu of parsers: every combination is written node by node, equals torch, and answers with a tree."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from service.inference.engines.open_bundle import answer_one, open_bundle
from tests.training.trees.tiny_parsers import draft_of_parser, parser
from tests.training.trees.tiny_trees import tree_of
from training.data.readers.treebanks.dependency_tree import fault_of_tree
from training.evaluation.task import Question
from training.networks.parsing.parser import Parser
from training.onnx_graph.parser import write_relations
from training.onnx_graph.parts.builder import GraphBuilder
from training.publish.export import export_bundle
from training.publish.variants import add_variant

QUESTIONS = [Question("the big cat sat on the mat", {"conllu": True}), Question(["an", "unknown", "zebra", "ran"])]
MENU: dict[str, dict[str, object]] = {
    "biaffine": {},
    "plain": {"characters": "none", "features": 0, "cell": "gru", "connection": "residual", "layer_norm": True},
    "contextual": {"contextual": ("forward", "backward"), "contextual_size": 5, "characters": "none"},
    "labels": {"decoder": "labels", "characters": "rnn", "layers": 1},
    "labels-plain": {"decoder": "labels", "characters": "none", "features": 0, "bidirectional": False},
}


@pytest.mark.parametrize("name", MENU)
def test_graphs_equal_torch_and_answer_with_trees(name: str, tmp_path: Path) -> None:
    """Export verifies shapes, torch, padding and examples; the bundle's answers are trees with one root."""
    network: Parser = parser(**MENU[name])  # type: ignore[arg-type]
    exported = export_bundle(network, draft_of_parser(network, name), QUESTIONS, tmp_path)
    assert exported.report.checks.keys() == {"shapes", "padding", "torch", "examples"}
    answer = answer_one(open_bundle(exported.path, device="cpu"), "the old dog ran over the red tree", {})
    heads = [0 if token.head is None else token.head + 1 for token in answer.tokens]
    assert fault_of_tree(heads) is None
    assert (answer.tokens[0].features is None) == (MENU[name].get("features") == 0)


def test_a_parser_of_labels_has_no_graph_of_relations() -> None:
    """Its graphs are `parser` alone, and the writer of the other one says why."""
    network = parser(decoder="labels")
    assert list(network.graphs()) == ["parser"]
    with pytest.raises(ValueError, match="no graph of relations"):
        write_relations(GraphBuilder("relations", (), ()), network)


def test_a_parser_gets_int8_weights(tmp_path: Path) -> None:
    """The variant is measured by LAS on dev, its graph of relations stays in single precision."""
    torch.manual_seed(1)  # of other weights two labels may score nearly alike, and int8 takes the other
    network = parser(hidden_size=16)
    exported = export_bundle(network, draft_of_parser(network, "small"), QUESTIONS[:1], tmp_path)
    dev = [tree_of(["the", "cat", "sat"])]
    variant = add_variant(exported.path, "int8", lambda _: None, dev)
    assert (variant.measure, set(variant.graphs)) == ("las", {"parser"})
