"""Weights shared by two graphs of a bundle are stored once, transparently to the service."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from service.bundle.load import WEIGHTS_FILE, load_bundle
from service.errors import BundleCorrupt, BundleIncomplete
from service.inference.runtime.ort_runner import OrtRunner
from service.tasks.catalogue import task_of
from service.tasks.recorded import faults_of_examples
from tests.tiny_bundles import renew_digests
from tests.training.exportable import draft_of, language_model, questions_of, translator
from training.onnx_graph.weights import share_weights
from training.publish.export import export_bundle


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """The bundle of a language model, whose prefill and step graphs have the same weights."""
    network = language_model()
    return export_bundle(network, draft_of(network), questions_of(network), tmp_path).path


def test_prompt_and_step_share_their_weights(shared: Path) -> None:
    """Each weight matrix is stored once in the shared file, while the graphs keep small constants."""
    graphs = {name: onnx.load(shared / f"{name}.onnx", load_external_data=False).graph for name in ("prompt", "step")}
    referred = {
        name: {tuple(tensor.dims) for tensor in graph.initializer if tensor.external_data}
        for name, graph in graphs.items()
    }
    assert referred["prompt"] == referred["step"] != set()
    assert all(len(tensor.raw_data) < 1024 for graph in graphs.values() for tensor in graph.initializer)
    whole = sum(tensor.ByteSize() for tensor in onnx.load(shared / "step.onnx").graph.initializer)
    assert (shared / WEIGHTS_FILE).stat().st_size <= whole
    assert WEIGHTS_FILE in load_bundle(shared).manifest.files


def test_a_file_written_over_while_it_serves_changes_nothing(shared: Path) -> None:
    """Weights are loaded into memory when a bundle is opened, so overwriting the file does not affect serving."""
    bundle = load_bundle(shared)
    runner = OrtRunner(bundle, "cpu")
    (shared / WEIGHTS_FILE).write_bytes(b"")
    assert list(faults_of_examples(task_of(bundle), bundle.examples, runner, 0.0001)) == []


def test_missing_or_short_weights_are_refused(shared: Path) -> None:
    """A missing or truncated weight file is refused."""
    file = shared / WEIGHTS_FILE
    file.write_bytes(file.read_bytes()[:500])
    renew_digests(shared)
    with pytest.raises(BundleCorrupt, match="not a graph"):
        OrtRunner(load_bundle(shared), "cpu")
    file.unlink()
    with pytest.raises(BundleIncomplete, match=rf"{WEIGHTS_FILE} is missing"):
        load_bundle(shared)


def test_graphs_that_share_nothing_stay_whole(tmp_path: Path) -> None:
    """A translator's encoder and decoder share no weights, so its bundle has no shared file."""
    network = translator()
    path = export_bundle(network, draft_of(network), questions_of(network), tmp_path).path
    assert not (path / WEIGHTS_FILE).exists()


def test_only_equal_bytes_are_shared() -> None:
    """Tensors that differ in one value are stored separately; equal bytes of different shapes are stored once."""
    large = np.arange(512, dtype=np.float32)
    other = large.copy()
    other[7] = -1.0
    models = [_holding(large, other), _holding(large.reshape(2, 256))]
    content = share_weights(models, WEIGHTS_FILE)
    assert np.array_equal(np.frombuffer(content, np.float32), large)
    kept, moved = models[0].graph.initializer[1], models[1].graph.initializer[0]
    assert np.array_equal(onnx.numpy_helper.to_array(kept), other)
    assert not moved.raw_data
    assert list(moved.dims) == [2, 256]


def test_what_one_graph_holds_twice_stays_in_it() -> None:
    """Duplicate tensors within one graph need no shared file."""
    equal = np.arange(512, dtype=np.float32)
    assert share_weights([_holding(equal, equal), _holding(equal + 1)], WEIGHTS_FILE) == b""


def _holding(*arrays: np.ndarray) -> onnx.ModelProto:
    tensors = [onnx.numpy_helper.from_array(array, f"weight_{i}") for i, array in enumerate(arrays)]
    return onnx.helper.make_model(onnx.helper.make_graph([], "empty", [], [], tensors))
