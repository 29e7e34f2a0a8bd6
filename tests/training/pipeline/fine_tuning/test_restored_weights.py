"""Weights of a network read back from the graphs of its bundle."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch

from service.bundle.load import load_bundle, read_manifest
from service.bundle.write import write_manifest
from tests.training.exportable import classifier, draft_of, language_model, lively, questions_of, tagger, translator
from tests.training.trees.tiny_parsers import draft_of_parser, parser
from training.networks.network import Network
from training.networks.parsing.parser import Parser
from training.onnx_graph.weights import round_to_half
from training.pipeline.fine_tuning.restored_weights import CannotRestore, restore_weights
from training.publish.export import export_bundle

NETWORKS: dict[str, Callable[[], Network]] = {
    "crf-tagger": lambda: tagger(decoder="crf", text_pooling="attention"),
    "gru-tagger": lambda: tagger("gru", characters="rnn", bidirectional=False),
    "classifier": lambda: classifier("rnn", "attention"),
    "translator": lambda: translator("gru", "additive"),
    "language-model": lambda: language_model(tie_embeddings=True),
    "parser": parser,
}


def published(network: Network, root: Path, *, half: bool) -> Path:
    """A bundle of the network."""
    draft = draft_of_parser(network, "tiny") if isinstance(network, Parser) else draft_of(network)
    return export_bundle(network, draft, questions_of(network), root, half=half).path


def with_other_weights(network: Network) -> Network:
    """The same network before it has learned anything."""
    return lively(copy.deepcopy(network))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("half", [True, False])
def test_every_weight_comes_back(name: str, half: bool, tmp_path: Path) -> None:
    """To the last bit, of graphs in half and in single precision; also transitions, tied weights and joined biases."""
    network = NETWORKS[name]()
    bundle = load_bundle(published(network, tmp_path, half=half))
    again = with_other_weights(network)
    restore_weights(again, bundle)
    expected = round_to_half(network) if half else network
    for key, weight in expected.named_parameters():
        assert torch.equal(again.get_parameter(key), weight), key
    assert len(dict(again.named_parameters())) == len(dict(network.named_parameters()))


def test_a_network_of_another_size_is_refused(tmp_path: Path) -> None:
    """The sentence names the graph and what differs."""
    bundle = load_bundle(published(tagger(layers=2), tmp_path, half=True))
    with pytest.raises(CannotRestore, match="graph 'tagger' is not that of its recipe"):
        restore_weights(tagger(layers=1), bundle)


def test_a_graph_that_computes_its_weights_is_refused(tmp_path: Path) -> None:
    """A graph whose weights were folded by another program has other tensors than the writer's."""
    path = published(classifier(), tmp_path, half=False)
    model = onnx.load(path / "classifier.onnx")
    product = next(node for node in model.graph.node if node.op_type == "Transpose" and "weight" in node.input[0])
    product.op_type = "Identity"
    del product.attribute[:]
    onnx.save(model, path / "classifier.onnx")
    write_manifest(path, read_manifest(path, is_edited=True))
    with pytest.raises(CannotRestore, match="read by"):
        restore_weights(classifier(), load_bundle(path))
