"""Older bundles get their hidden state as an output; weights, answers and the cost of a run stay what they were."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from service.bundle.hidden_output import EMBEDDING, HIDDEN_STATES, hidden_output, hidden_place, without_hidden
from service.bundle.load import Bundle, load_bundle, read_manifest
from service.bundle.manifest import Variant
from service.bundle.write import write_examples, write_manifest
from service.errors import InvalidInput, ParityFailed
from service.inference.engines.open_bundle import open_bundle, predict_one
from service.inference.engines.self_check import self_check
from service.inference.runtime.ort_runner import session_options
from tests.training.exportable import classifier, draft_of, language_model, questions_of, tagger, translator
from training.evaluation.torch_runner import TorchRunner
from training.networks.network import Network
from training.onnx_graph.parts.builder import rename_value, serialized
from training.publish.export import export_bundle
from training.publish.hidden_state import NoHiddenState, add_hidden_state
from training.publish.int8 import int8_graph

NETWORKS: dict[str, Callable[[], Network]] = {
    "tagger": tagger,
    "classifier": classifier,
    "language model": language_model,
}


def published(network: Network, root: Path) -> Path:
    return export_bundle(network, draft_of(network), questions_of(network), root).path


def without_output(model: onnx.ModelProto) -> bytes:
    """A graph as it was written before, when the value had a name like any other."""
    for name in (HIDDEN_STATES, EMBEDDING):
        rename_value(model.graph.node, name, "read_1")
    kept = [tensor for tensor in model.graph.output if tensor.name not in (HIDDEN_STATES, EMBEDDING)]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    return serialized(model)


def made_older(path: Path, *, with_int8: bool = False) -> Bundle:
    """The bundle without its hidden state."""
    manifest = load_bundle(path).manifest
    for spec in manifest.graphs.values():
        file = path / spec.file
        file.write_bytes(without_output(onnx.load(file, load_external_data=False)))
    graphs = {name: without_hidden(spec) for name, spec in manifest.graphs.items()}
    variants = {}
    if with_int8:
        (graph,) = graphs
        (path / "form.int8.onnx").write_bytes(serialized(int8_graph(onnx.load(path / graphs[graph].file), False)))
        figures: dict[str, Any] = {
            "score": 1.0,
            "fp32_score": 1.0,
            "drop": 0.0,
            "max_difference": 0.0,
            "agreement": 100.0,
        }
        variants = {"int8": Variant(graphs={graph: "form.int8.onnx"}, measure="f1", **figures)}
    older = manifest.model_copy(update={"graphs": graphs, "variants": variants})
    write_manifest(path, older)
    write_examples(path, [replace(example, embedding=None) for example in load_bundle(path).examples])
    write_manifest(path, older)
    return load_bundle(path)


@pytest.mark.parametrize("kind", NETWORKS)
def test_an_older_bundle_gets_the_output_that_an_export_writes(kind: str, tmp_path: Path) -> None:
    """The manifest declares the same tensor, and the bundle answers with what PyTorch computes."""
    torch.manual_seed(0)
    network = NETWORKS[kind]()
    path = published(network, tmp_path)
    exported = load_bundle(path)
    assert exported.examples[0].embedding
    made_older(path)
    assert add_hidden_state(path) == path
    upgraded = load_bundle(path)
    assert upgraded.manifest.graphs == exported.manifest.graphs
    assert upgraded.examples[0].embedding == pytest.approx(exported.examples[0].embedding, abs=1e-5)
    assert upgraded.examples[1:] == exported.examples[1:]


def test_the_int8_form_gets_it_too(tmp_path: Path) -> None:
    """Its value is near that of fp32, and the bundle opens in int8."""
    path = published(tagger(), tmp_path)
    made_older(path, with_int8=True)
    add_hidden_state(path)
    vectors = []
    for precision in ("fp32", "int8"):
        opened = open_bundle(path, "cpu", precision=precision)
        vectors += opened.task.embed(opened.runner, [opened.task.embedding_example("the cat sat")])
    assert vectors[0] == pytest.approx(vectors[1], abs=0.1)
    assert not np.array_equal(vectors[0], vectors[1])


def test_an_older_bundle_refuses_embeddings_with_the_remedy(tmp_path: Path) -> None:
    """It loads and answers as before."""
    path = published(classifier(), tmp_path)
    made_older(path)
    opened = open_bundle(path, "cpu")
    assert "hidden" not in predict_one(opened, "the cat", {}).model_dump()
    with pytest.raises(InvalidInput, match="unroll export --hidden models/tiny/1") as refused:
        predict_one(opened, "the cat", {"return_hidden": True})
    assert refused.value.field == ("parameters", "return_hidden")


def test_what_cannot_be_upgraded_stays_as_it_was(tmp_path: Path) -> None:
    """A bundle that gives it already, and a graph whose output is not that of a linear layer."""
    path = published(classifier(), tmp_path / "one")
    with pytest.raises(NoHiddenState, match="gives its hidden state already"):
        add_hidden_state(path)
    with pytest.raises(NoHiddenState, match="already"):
        add_hidden_state(published(translator(), tmp_path / "two"))
    made_older(path)
    model = onnx.load(path / "classifier.onnx")
    copied = next(node for node in model.graph.node if node.output[0] == "logits")
    copied.op_type = "Neg"
    (path / "classifier.onnx").write_bytes(serialized(model))
    write_manifest(path, read_manifest(path))
    before = (path / "manifest.json").read_bytes()
    with pytest.raises(NoHiddenState, match="not that of a linear layer"):
        add_hidden_state(path)
    assert (path / "manifest.json").read_bytes() == before


def test_a_wrong_recorded_embedding_is_found(tmp_path: Path) -> None:
    """A second upgrade after the weights changed would not pass `verify`: its first example differs."""
    path = published(classifier(), tmp_path)
    bundle = load_bundle(path)
    first, *others = bundle.examples
    assert first.embedding is not None
    write_examples(path, [replace(first, embedding=[number + 0.5 for number in first.embedding]), *others])
    write_manifest(path, bundle.manifest)
    with pytest.raises(ParityFailed, match="embedding"):
        self_check(open_bundle(path, "cpu"))


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_run_that_does_not_ask_computes_what_it_did(kind: str, tmp_path: Path) -> None:
    """After onnxruntime's optimisations the graph has the same operators with the output as without."""
    path = published(NETWORKS[kind](), tmp_path)
    manifest = load_bundle(path).manifest
    place = hidden_place(manifest.task)
    assert place is not None
    assert hidden_output(manifest) is not None
    file = path / manifest.graphs[place[0]].file
    with_output = optimised(file, tmp_path)
    older = path / "older.onnx"
    older.write_bytes(without_output(onnx.load(file, load_external_data=False)))
    assert with_output == optimised(older, tmp_path)


def optimised(file: Path, folder: Path) -> Counter[str]:
    """How often each operator is in the graph that onnxruntime runs."""
    options = session_options(1)
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "optimised.onnx", load_external_data=False).graph.node)


def test_pytorch_gives_the_same_vectors(tmp_path: Path) -> None:
    """The embedding of a text by the graph is that by the network."""
    network = language_model()
    opened = open_bundle(published(network, tmp_path), "cpu")
    example = opened.task.embedding_example("the cat sat on the mat")
    (found,) = opened.task.embed(opened.runner, [example])
    (expected,) = opened.task.embed(TorchRunner(network), [example])
    assert found == pytest.approx(expected, abs=2e-3)
