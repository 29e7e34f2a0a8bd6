"""Export of a network as a bundle: every file is correct, and only verified bundles are published."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from service.bundle.load import load_bundle
from service.bundle.models_folder import find_bundles
from service.errors import InvalidInput, ParityFailed
from service.tasks.catalogue import answer, task_of
from tests.training.exportable import (
    CELLS,
    classifier,
    draft_of,
    language_model,
    questions_of,
    tagger,
    translator,
)
from training.evaluation.torch_runner import TorchRunner, one_thread
from training.networks.network import Network, float32
from training.onnx_graph.parts.builder import GraphBuilder
from training.onnx_graph.weights import round_to_half
from training.onnx_graph.writers import network_graphs
from training.publish import export
from training.publish.export import Exported, export_bundle
from training.publish.parity_report import ParityReport

TOLERANCE = 2e-5


def exported(network: nn.Module, root: Path, half: bool = True) -> Exported:
    return export_bundle(network, draft_of(network), questions_of(network), root, half=half)


def assert_close_to_torch(network: nn.Module, root: Path, half: bool = True) -> None:
    """Export verifies against torch, with differences of rounding size only."""
    report = exported(network, root, half).report
    assert report.passed
    assert report.max_difference < TOLERANCE, report.summary()


@pytest.mark.parametrize(
    ("cell", "characters", "decoder"),
    [("lstm", "cnn", "crf"), ("gru", "rnn", "softmax"), ("rnn", "none", "crf"), ("lstm", "rnn", "softmax")],
)
def test_taggers(cell: str, characters: str, decoder: str, tmp_path: Path) -> None:
    """Taggers with every character encoder and both decoders equal torch."""
    assert_close_to_torch(tagger(cell, characters, decoder), tmp_path)


@pytest.mark.parametrize(
    ("cell", "pooling"), list(zip(itertools.cycle(CELLS), ("last", "mean", "max", "attention"), strict=False))
)
@pytest.mark.parametrize("bidirectional", [True, False])
def test_classifiers(cell: str, pooling: str, bidirectional: bool, tmp_path: Path) -> None:
    """Classifiers with every pooling, unidirectional and bidirectional, equal torch."""
    assert_close_to_torch(classifier(cell, pooling, bidirectional), tmp_path)


@pytest.mark.parametrize("network", [classifier(), tagger()], ids=["classifier", "tagger"])
def test_the_first_example_has_a_score_for_every_label(network: nn.Module, tmp_path: Path) -> None:
    """So that the self-check notices labels that trade places, whichever labels the answers happen to have."""
    bundle = load_bundle(exported(network, tmp_path).path)
    first, *others = bundle.examples
    assert first.label_scores is not None
    assert [tuple(scores) for scores in first.label_scores.values()] == [bundle.manifest.labels]
    assert not any(example.label_scores for example in others)


@pytest.mark.parametrize(
    ("cell", "attention", "decoder_layers"), [("lstm", "additive", 2), ("gru", "dot", 1), ("rnn", "dot", 3)]
)
def test_translators(cell: str, attention: str, decoder_layers: int, tmp_path: Path) -> None:
    """Translators with both attentions and any number of decoder layers equal torch."""
    assert_close_to_torch(translator(cell, attention, decoder_layers), tmp_path)


@pytest.mark.parametrize(("cell", "layers", "tied"), [("lstm", 2, True), ("gru", 1, False), ("rnn", 2, False)])
def test_language_models(cell: str, layers: int, tied: bool, tmp_path: Path) -> None:
    """Language models equal torch in prefill and decode, with greedy decoding and sampling."""
    assert_close_to_torch(language_model(cell, layers, tied), tmp_path, half=layers == 2)


def test_the_bundle_is_whole(tmp_path: Path) -> None:
    """The published folder loads, has its card, transitions and parity, and no staging files remain."""
    path = exported(tagger(decoder="crf"), tmp_path).path
    bundle = load_bundle(path)
    assert path == tmp_path / "tiny" / "1"
    assert [entry.name for entry in tmp_path.iterdir()] == ["tiny"]
    assert set(bundle.manifest.tokenizers) == {"words", "characters"}
    assert {"README.md", "transitions.npy", "tagger.onnx", "examples.jsonl"} <= set(bundle.manifest.files)
    assert bundle.manifest.parity is not None
    assert bundle.manifest.training.parameters > 0
    assert bundle.transitions is not None


def test_examples_are_the_answers_of_the_rounded_network(tmp_path: Path) -> None:
    """The recorded answers are torch's with the rounded weights of the bundle."""
    network = classifier()
    bundle = load_bundle(exported(network, tmp_path).path)
    rounded = TorchRunner(round_to_half(network))
    with one_thread():
        for example in bundle.examples:
            found = answer(task_of(bundle), rounded, example.inputs, example.parameters)
            assert example.answer == found.model_dump(mode="json")


def test_state_and_shared_tokenizer_stand_in_the_manifest(tmp_path: Path) -> None:
    """The manifest has the translator's state as in its step graph, and a tokenizer of two roles once."""
    manifest = load_bundle(exported(translator("lstm"), tmp_path).path).manifest
    state = [(spec.name, spec.next_name, spec.layers, spec.width) for spec in manifest.state]
    assert state == [("hidden", "next_hidden", 2, 11), ("cell", "next_cell", 2, 11)]
    assert manifest.tokenizers == {"source": "tokenizer.json", "target": "tokenizer.json"}


def test_half_precision_halves_the_size_and_keeps_the_network(tmp_path: Path) -> None:
    """Half precision stores each weight in two bytes, and the caller's network is unchanged."""
    network = tagger()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    sizes = {
        half: len(network_graphs(round_to_half(network), half)["tagger"].model().SerializeToString())
        for half in (True, False)
    }
    exported(network, tmp_path)
    assert sizes[True] < 0.65 * sizes[False]
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_tied_embeddings_are_stored_once() -> None:
    """The output layer shares the embedding's table."""
    sizes = {}
    for tied in (True, False):
        graph = network_graphs(language_model(tie_embeddings=tied))["step"].model().graph
        sizes[tied] = sum(int(np.prod(tensor.dims)) for tensor in graph.initializer)
    table = language_model().embedding.weight.numel()
    assert sizes[False] - sizes[True] == table


def test_only_gathered_rows_of_an_embedding_are_cast() -> None:
    """The embedding table stays in half precision: Gather reads it directly, followed by the cast."""
    graph = network_graphs(round_to_half(classifier()), half=True)["classifier"].model().graph
    stored = {tensor.name for tensor in graph.initializer}
    gathers = [node for node in graph.node if node.op_type == "Gather" and node.input[0] in stored]
    casts = {node.input[0] for node in graph.node if node.op_type == "Cast"}
    assert gathers
    assert all(node.output[0] in casts and node.input[0] not in casts for node in gathers)


def test_the_same_network_gives_the_same_bytes(tmp_path: Path) -> None:
    """Two exports of one network have the same digests."""
    network = language_model("gru")
    digests = [load_bundle(exported(network, tmp_path / name).path).manifest.files for name in ("a", "b")]
    assert digests[0] == digests[1]


def test_recurrences_are_portable() -> None:
    """No recurrent node has `sequence_lens` or runs backwards, except for an LSTM's prefill."""
    networks = [tagger("gru", "rnn"), classifier("lstm"), translator("lstm"), language_model("gru")]
    graphs = [builder.model().graph for network in networks for builder in network_graphs(network).values()]
    nodes = [node for graph in graphs for node in graph.node if node.op_type in ("LSTM", "GRU", "RNN")]
    assert nodes
    assert all(len(node.input) < 5 or node.input[4] == "" for node in nodes)
    assert all(attribute.name != "direction" for node in nodes for attribute in node.attribute)


def test_nothing_changes_when_verification_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed export leaves the published version unchanged and removes its staging folder."""
    path = exported(classifier(), tmp_path).path
    digest = load_bundle(path).digest

    def failing(path: Path, network: nn.Module, tolerance: float) -> ParityReport:
        return ParityReport(path, tolerance, failures=["torch: graph 'classifier' is wrong"])

    monkeypatch.setattr(export, "verify_bundle", failing)
    with pytest.raises(ParityFailed, match="not published"):
        exported(classifier("gru"), tmp_path)
    assert load_bundle(path).digest == digest
    assert find_bundles(tmp_path) == [path]
    assert not (tmp_path / ".staging").exists()


def test_a_failed_bundle_can_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `keep_failed` the staging folder is kept, and is not listed as a bundle."""
    network = classifier("gru")
    nodes = GraphBuilder.nodes

    def without_reset(self: GraphBuilder, operator: str, *inputs: str, num_outputs: int, **attributes: object):
        attributes.pop("linear_before_reset", None)
        return nodes(self, operator, *inputs, num_outputs=num_outputs, **attributes)

    monkeypatch.setattr(GraphBuilder, "nodes", without_reset)
    with pytest.raises(ParityFailed, match="graph 'classifier'"):
        export_bundle(network, draft_of(network), questions_of(network), tmp_path, keep_failed=True)
    assert find_bundles(tmp_path) == []
    (staged,) = (tmp_path / ".staging").iterdir()
    assert (staged / "classifier.onnx").is_file()


def test_a_bundle_without_examples_is_refused(tmp_path: Path) -> None:
    """A bundle without examples is refused, as it could not be verified."""
    with pytest.raises(InvalidInput, match="at least one example"):
        export_bundle(classifier(), draft_of(classifier()), [], tmp_path)
    assert not list(tmp_path.iterdir())


def test_weights_beyond_half_precision_are_refused(tmp_path: Path) -> None:
    """A weight beyond the float16 range is an error that names it, and so is an unrounded weight."""
    network = classifier()
    with pytest.raises(ValueError, match="does not fit float16 exactly"):
        network_graphs(network, half=True)["classifier"].model()
    with torch.no_grad():
        network.output.bias[0] = 1e6
    with pytest.raises(ValueError, match=r"output\.bias"):
        exported(network, tmp_path)
    assert exported(network, tmp_path, half=False).report.passed


def test_a_network_without_graph_writers_is_refused() -> None:
    """A network without graph writers is refused with its class name."""

    class Novelty(Network):
        pass

    with pytest.raises(ValueError, match="no graph writer for a Novelty"):
        network_graphs(Novelty())


def test_constants_of_rank_zero_stay_so() -> None:
    """Scalar constants keep rank zero."""
    graph = GraphBuilder("scalars", [float32("values", "batch")], [float32("sum", "batch")])
    graph.output("sum", graph.node("Add", graph.input("values"), graph.scalar(2.0)))
    assert [list(tensor.dims) for tensor in graph.model().graph.initializer] == [[]]


def test_a_wrong_declared_shape_is_refused() -> None:
    """A declared shape that differs from the inferred one is refused."""
    graph = GraphBuilder("wrong", [float32("values", "batch", 3)], [float32("same", "batch", 4)])
    graph.output("same", graph.input("values"))
    with pytest.raises(onnx.shape_inference.InferenceError):
        graph.model()


def test_examples_are_json(tmp_path: Path) -> None:
    """Each line of the examples is one JSON object; the first has the embedding too."""
    lines = (exported(language_model(), tmp_path).path / "examples.jsonl").read_text(encoding="utf-8").splitlines()
    first, second = (set(json.loads(line)) for line in lines)
    assert second == {"answer", "inputs", "parameters"}
    assert first == second | {"embedding"}
