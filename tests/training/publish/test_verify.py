"""Verification detects faults of a bundle, and reports their location."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper
from torch import nn

from service.bundle.load import EXAMPLES_FILE, read_manifest
from service.bundle.write import write_manifest
from service.errors import BundleCorrupt
from tests.training.exportable import classifier, draft_of, language_model, questions_of, tagger, translator
from training.publish.export import export_bundle
from training.publish.parity_report import ParityReport
from training.publish.verify import verify_bundle

OneModelChange = Callable[[onnx.ModelProto], None]


def published(network: nn.Module, root: Path) -> Path:
    return export_bundle(network, draft_of(network), questions_of(network), root).path


def change_graph(path: Path, graph: str, change: OneModelChange) -> None:
    """Edit a graph of a published bundle and update its digest, as a faulty exporter would have written it."""
    model = onnx.load(path / f"{graph}.onnx")
    change(model)
    onnx.save(model, path / f"{graph}.onnx")
    write_manifest(path, read_manifest(path))


def nodes_of(model: onnx.ModelProto, operator: str) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type == operator]


def swap_gates(model: onnx.ModelProto) -> None:
    """Swap the first two gates of the first recurrence's input weights."""
    casts = {node.output[0]: node.input[0] for node in nodes_of(model, "Cast")}
    name = casts[nodes_of(model, "LSTM")[0].input[1]]
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    gates = np.split(numpy_helper.to_array(weight), 4, axis=1)
    swapped = np.concatenate([gates[1], gates[0], *gates[2:]], axis=1)
    weight.CopyFrom(numpy_helper.from_array(swapped, name))


def forget_lengths(model: onnx.ModelProto) -> None:
    """Read the state at the end of the padding, by removing `sequence_lens` from every recurrence."""
    for node in nodes_of(model, "LSTM"):
        node.input[4] = ""


def reverse_padding_too(model: onnx.ModelProto) -> None:
    """Extend every reversal over the padding, by giving each row the full length."""
    time = onnx.helper.make_node("Shape", ["words"], ["full_time"], start=1, end=2)
    batch = onnx.helper.make_node("Shape", ["lengths"], ["num_rows"])
    full = onnx.helper.make_node("Expand", ["full_time", "num_rows"], ["full_lengths"])
    for node in reversed([time, batch, full]):
        model.graph.node.insert(0, node)
    for node in nodes_of(model, "ReverseSequence"):
        if node.input[1] == "lengths":
            node.input[1] = "full_lengths"


def failures(report: ParityReport, check: str) -> list[str]:
    return [failure for failure in report.failures if failure.startswith(f"{check}:")]


def test_a_sound_bundle_passes_alone_and_against_its_network(tmp_path: Path) -> None:
    """Every check runs and passes, with and without the network."""
    network = language_model("lstm")
    path = published(network, tmp_path)
    alone, against = verify_bundle(path), verify_bundle(path, network)
    assert (alone.passed, set(alone.checks)) == (True, {"shapes", "padding", "steps", "examples"})
    assert (against.passed, set(against.checks)) == (True, {"shapes", "padding", "torch", "steps", "examples"})
    assert against.max_difference < 1e-5


def test_swapped_gates_are_found_by_the_examples_alone(tmp_path: Path) -> None:
    """Without the network the recorded answers differ; with it the graph, row and output are named."""
    network = tagger("lstm")
    path = published(network, tmp_path)
    change_graph(path, "tagger", swap_gates)
    assert failures(verify_bundle(path), "examples")
    found = failures(verify_bundle(path, network), "torch")
    assert found
    assert "graph 'tagger', row 0 of length 1, output 'emissions'" in found[0]
    assert "expected" in found[0]


def test_a_padded_row_that_differs_from_the_row_alone_is_found(tmp_path: Path) -> None:
    """A backward direction that starts in the padding is detected without the network."""
    path = published(tagger("gru"), tmp_path)
    change_graph(path, "tagger", reverse_padding_too)
    assert failures(verify_bundle(path), "padding")


def test_a_prompt_that_hands_over_the_state_of_its_padding_is_found(tmp_path: Path) -> None:
    """The steps check compares the state after a padded prefill with the state after single steps."""
    path = published(language_model("lstm"), tmp_path)
    change_graph(path, "prompt", forget_lengths)
    report = verify_bundle(path)
    assert any("next_cell" in failure for failure in failures(report, "steps"))
    assert "FAILED" in report.summary()


def test_other_weights_than_the_bundle_has_are_found(tmp_path: Path) -> None:
    """A network with other weights than the bundle's fails, in the decoder and transitions too."""
    made_from, another = translator("gru"), translator("gru")
    with torch.no_grad():
        another.output.bias.add_(0.01)
    report = verify_bundle(published(made_from, tmp_path), another)
    assert failures(report, "torch")
    assert any("decoder_step" in failure for failure in failures(report, "steps"))
    made_from, another = tagger(decoder="crf"), tagger(decoder="crf")
    with torch.no_grad():
        another.crf.transitions.add_(0.01)
    assert any(
        "transitions.npy" in failure for failure in verify_bundle(published(made_from, tmp_path), another).failures
    )


def test_an_edited_answer_is_found(tmp_path: Path) -> None:
    """An edited recorded answer fails, and the example and field are named."""
    path = published(classifier(), tmp_path)
    first, *rest = (path / EXAMPLES_FILE).read_text(encoding="utf-8").splitlines()
    example = json.loads(first)
    example["answer"]["score"] += 0.01
    (path / EXAMPLES_FILE).write_text("\n".join([json.dumps(example), *rest]) + "\n", encoding="utf-8")
    write_manifest(path, read_manifest(path))
    (failure,) = verify_bundle(path).failures
    assert failure.startswith("examples: example 1, answer.score: expected ")


def test_a_wrong_shape_is_found(tmp_path: Path) -> None:
    """An output whose shape differs from the declared one is reported with both shapes."""
    path = published(classifier(), tmp_path)
    manifest = read_manifest(path)
    spec = manifest.graphs["classifier"]
    wider = spec.outputs[0].model_copy(update={"shape": ("batch", 9)})
    graphs = {"classifier": spec.model_copy(update={"outputs": (wider, *spec.outputs[1:])})}
    write_manifest(path, manifest.model_copy(update={"graphs": graphs}))
    found = failures(verify_bundle(path), "shapes")
    assert found
    assert "expected float32 [1, 9], found float32 [1, 4]" in found[0]


def test_a_graph_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    """A file that is not a valid graph is refused with its path."""
    path = published(classifier(), tmp_path)
    change_graph(path, "classifier", lambda model: model.graph.output[0].ClearField("name"))
    with pytest.raises(BundleCorrupt, match=r"classifier\.onnx"):
        verify_bundle(path)


def test_numbers_that_are_not_finite_never_agree() -> None:
    """Infinity and NaN fail even where both sides have them."""
    report = ParityReport(Path("bundle"))
    for value in (np.nan, np.inf):
        report.compare("torch", "graph 'x'", np.array([value]), np.array([value]))
    assert len(report.failures) == 2


def test_half_precision_is_recognised_by_its_weights(tmp_path: Path) -> None:
    """A float16 bundle is compared with the network rounded to float16, and passes."""
    network = classifier("gru")
    path = published(network, tmp_path)
    kinds = {tensor.data_type for tensor in onnx.load(path / "classifier.onnx").graph.initializer}
    assert TensorProto.FLOAT16 in kinds
    assert verify_bundle(path, network).checks["torch"] < 1e-5
