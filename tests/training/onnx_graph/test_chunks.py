"""Forward-only taggers and classifiers: trained, exported and verified with state inputs and outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from pydantic import ValidationError
from typer.testing import CliRunner

from service.bundle.load import CARD_FILE, read_manifest
from service.bundle.manifest import Manifest
from service.bundle.write import write_manifest
from tests.training.exportable import CELLS, classifier, draft_of, questions_of, tagger
from tests.training.tiny_runs import settings_of, write_files
from training.config.networks import Cell
from training.networks.classifier import Classifier
from training.networks.layers.cells import State, state_names
from training.networks.tagger import Tagger
from training.onnx_graph.parts.builder import GraphBuilder
from training.onnx_graph.parts.encoder import encoder_from_state
from training.publish.export import export_bundle
from training.publish.verify import verify_bundle

Network = Tagger | Classifier
NETWORKS = [
    *[pytest.param(lambda c=cell: tagger(c, bidirectional=False), cell, id=f"tagger-{cell}") for cell in CELLS],
    *[pytest.param(lambda c=cell: classifier(c, "last", False), cell, id=f"classifier-{cell}") for cell in CELLS],
    pytest.param(lambda: tagger("gru", "rnn", layers=1, bidirectional=False), "gru", id="tagger-one-layer"),
    pytest.param(lambda: tagger("lstm", "none", layers=3, bidirectional=False), "lstm", id="tagger-three-layers"),
]
WHOLE_ONLY = [
    pytest.param(tagger, id="both-directions"),
    pytest.param(lambda: tagger(decoder="crf", bidirectional=False), id="crf"),
    pytest.param(lambda: classifier("gru", "last", True), id="last-of-both-directions"),
    *[pytest.param(lambda p=p: classifier("gru", p, False), id=p) for p in ("mean", "max", "attention")],
]


def published(network: Network, root: Path) -> Path:
    return export_bundle(network, draft_of(network), questions_of(network), root).path


@pytest.mark.parametrize(("make", "cell"), NETWORKS)
def test_a_forward_network_is_exported_with_its_state(make: object, cell: Cell, tmp_path: Path) -> None:
    """For every cell the graph has the state tensors of the contract, and chunks equal the whole text, as in torch."""
    network = make()  # type: ignore[operator]
    path = published(network, tmp_path)
    manifest = read_manifest(path)
    assert manifest.reads_chunks
    assert [spec.name for spec in manifest.state] == list(state_names(cell))
    assert {(spec.layers, spec.width) for spec in manifest.state} == {(network.config.layers, 12)}
    for report in (verify_bundle(path), verify_bundle(path, network)):
        assert report.passed
        assert report.checks["chunks"] < 1e-5
    assert "sent in chunks: ask for `return_state`" in (path / CARD_FILE).read_text(encoding="utf-8")


@pytest.mark.parametrize("make", WHOLE_ONLY)
def test_other_networks_declare_that_they_cannot(make: object, tmp_path: Path) -> None:
    """A network that needs the following text has no state, no chunk check, and a card that states it."""
    path = published(make(), tmp_path)  # type: ignore[operator]
    manifest = read_manifest(path)
    assert (manifest.state, manifest.reads_chunks) == ((), False)
    assert "chunks" not in verify_bundle(path).checks
    assert "cannot be sent in chunks" in (path / CARD_FILE).read_text(encoding="utf-8")


@pytest.mark.parametrize("cell", CELLS)
def test_torch_reads_on_where_it_stopped(cell: Cell) -> None:
    """Three chunks with carried state give the emissions of the whole text, and the last one its label."""
    words = torch.tensor([[4, 9, 6, 5, 8, 7, 11]])
    tags, labels = tagger(cell, "none", bidirectional=False).eval(), classifier(cell, "last", False).eval()
    pieces = words.split([2, 4, 1], dim=1)
    lengths = [torch.tensor([piece.shape[1]]) for piece in pieces]
    with torch.no_grad():
        state, other, emissions = zeros(tags), zeros(labels), []
        for piece, length in zip(pieces, lengths, strict=True):
            reading, state = tags.read_chunk(piece, piece.unsqueeze(2), length, state)
            logits, other = labels.read_chunk(piece, length, other)
            emissions.append(reading.emissions)
        whole = tags.emissions(words, words.unsqueeze(2), torch.tensor([7]))
        torch.testing.assert_close(torch.cat(emissions, dim=1), whole)
        torch.testing.assert_close(logits, labels.logits(words, torch.tensor([7])))


def zeros(network: Network) -> State:
    config = network.config
    shape = (config.layers, 1, config.hidden_size)
    return tuple(torch.zeros(shape) for _ in state_names(config.cell))


def test_a_state_taken_from_the_padding_is_found(tmp_path: Path) -> None:
    """A graph that takes its state from the padding fails the chunk check, with or without the network."""
    network = tagger("lstm", bidirectional=False)
    path = published(network, tmp_path)
    model = onnx.load(path / "tagger.onnx")
    for node in model.graph.node:
        if node.op_type == "LSTM":
            node.input[4] = ""
    onnx.save(model, path / "tagger.onnx")
    write_manifest(path, read_manifest(path))
    for report in (verify_bundle(path), verify_bundle(path, network)):
        assert any(failure.startswith("chunks: graph 'tagger', row") for failure in report.failures)


def test_a_state_that_is_not_read_is_found(tmp_path: Path) -> None:
    """A graph that starts every chunk from zeros fails verification."""
    path = published(classifier("gru", "last", False), tmp_path)
    model = onnx.load(path / "classifier.onnx")
    (node,) = (node for node in model.graph.node if node.op_type == "GRU")
    node.input[5] = ""
    onnx.save(model, path / "classifier.onnx")
    write_manifest(path, read_manifest(path))
    assert any("output 'logits'" in failure for failure in verify_bundle(path).failures)


def test_an_encoder_of_both_directions_takes_no_state() -> None:
    """Requesting state from a bidirectional encoder raises an error."""
    graph = GraphBuilder("refused", [], [])
    with pytest.raises(ValueError, match="a bidirectional encoder"):
        encoder_from_state(graph, "inputs", "lengths", tagger().encoder, ["hidden", "cell"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: values["options"].update(decoder="crf"), "a CRF chooses the tags of a whole sentence"),
        (lambda values: values["state"][0].update(width=99), "input 'hidden' of float32"),
        (lambda values: values["state"][0].update(next_name="later"), "output 'later' of float32"),
    ],
)
def test_a_manifest_whose_state_does_not_fit_is_refused(change: object, message: str, tmp_path: Path) -> None:
    """The state of a tagger must name tensors of its graph, and a CRF tagger can have none."""
    values = read_manifest(published(tagger("gru", bidirectional=False), tmp_path)).model_dump(mode="json")
    change(values)  # type: ignore[operator]
    with pytest.raises(ValidationError, match=message):
        Manifest.model_validate(values)


@pytest.mark.parametrize(("task", "extra"), [("tagging", []), ("classification", ["--set=network.pooling=last"])])
def test_a_forward_model_can_be_trained_and_published(task: str, extra: list[str], tmp_path: Path) -> None:
    """One command turns files into a verified bundle that reads in chunks."""
    from training.cli.commands import app

    train, dev = write_files(task, tmp_path)  # type: ignore[arg-type]
    arguments = ["train", task, "--train", train, "--dev", dev, "--name", "forward", "--device", "cpu"]
    folders = ["--runs", tmp_path / "runs", "--models", tmp_path / "models", "--set=network.bidirectional=false"]
    settings = settings_of(task, epochs=1)  # type: ignore[arg-type]
    result = CliRunner().invoke(app, [str(a) for a in [*arguments, *folders, *settings, *extra]])
    assert result.exit_code == 0, result.output
    manifest = read_manifest(tmp_path / "models" / "forward" / "1")
    assert manifest.reads_chunks
    assert manifest.parity is not None
    assert np.isfinite(manifest.parity.checks["chunks"])
