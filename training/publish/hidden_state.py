"""Add the hidden state as an output to the graphs of a bundle that was published before bundles gave it.

The weights and the nodes stay as they are: the value that the output layer reads gets a name of the contract, in the
fp32 graph and in its int8 form, and the manifest lists it. Before the bundle is published again, every output that it
had must be the same to the last bit, and `verify` must pass with the new one.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

from service.bundle.hidden_output import HIDDEN_STATES, hidden_output, hidden_place
from service.bundle.load import Bundle, load_bundle
from service.bundle.manifest import Precision, TensorSpec
from service.bundle.write import publish, staging_folder, write_examples, write_manifest
from service.errors import ParityFailed, UnrollError
from service.inference.runtime.ort_runner import OrtRunner, can_run
from service.tasks.catalogue import task_of
from service.tasks.core.task import Array
from service.tasks.recorded import recorded_embedding
from training.evaluation.tasks.catalogue import evaluation_task
from training.onnx_graph.parts.builder import rename_value, serialized, value_info
from training.publish.verify import verify_bundle
from training.publish.verify_inputs import VerificationInputs

#: The output of each graph that is computed from the hidden state by one linear layer.
_SCORES = {"tagger": "emissions", "classifier": "logits", "prompt": "logits"}


class NoHiddenState(UnrollError):
    """The bundle cannot give its hidden state; the message says why."""


def add_hidden_state(path: Path) -> Path:
    """Publish the bundle in `path` again, with its hidden state as an output; its folder is returned.

    Raises:
        NoHiddenState: its task has none, it gives one already, or its graph is none of this project's.
        ParityFailed: an output would change, or a check of `verify` fails; the bundle stays as it was.
        BundleError: the bundle cannot be used.
    """
    bundle = load_bundle(path)
    manifest = bundle.manifest
    place = hidden_place(manifest.task)
    if place is None:
        raise NoHiddenState(f"{path}: {manifest.task} has no hidden state to give")
    if hidden_output(manifest) is not None:
        raise NoHiddenState(f"{path}: it gives its hidden state already")
    models_root = path.resolve().parents[1]
    staged = staging_folder(models_root, manifest.name)
    try:
        shutil.copytree(path, staged, dirs_exist_ok=True)
        write_hidden_output(staged, bundle, *place)
        require_unchanged(bundle, load_bundle(staged))
        _record_embedding(staged)
        report = verify_bundle(staged)
        if not report.passed:
            raise ParityFailed(staged, "\n".join(["not published.", *report.failures[:10]]))
        return publish(staged, models_root)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def write_hidden_output(staged: Path, bundle: Bundle, graph: str, name: str) -> None:
    """Add the output `name` to all files of a graph, and to the manifest, in a copy of the bundle."""
    manifest = bundle.manifest
    spec = manifest.graphs[graph]
    value, width = read_by_output_layer(_graph_of(staged / spec.file).graph, _SCORES[graph])
    axes = ("batch", "time") if name == HIDDEN_STATES else ("batch",)
    tensor = TensorSpec(name=name, dtype="float32", shape=(*axes, width))
    others = [variant.graphs[graph] for variant in manifest.variants.values() if graph in variant.graphs]
    for file in dict.fromkeys([spec.file, *others]):
        model = _graph_of(staged / file)
        if not any(value in node.output for node in model.graph.node):
            raise NoHiddenState(f"{file} has no node that computes what the output layer of {spec.file} reads")
        rename_value(model.graph.node, value, name)
        model.graph.output.append(value_info(tensor))
        (staged / file).write_bytes(serialized(model))
    graphs = {**manifest.graphs, graph: spec.model_copy(update={"outputs": (*spec.outputs, tensor)})}
    write_manifest(staged, manifest.model_copy(update={"graphs": graphs}))


def read_by_output_layer(graph: onnx.GraphProto, output: str) -> tuple[str, int]:
    """The value that the linear layer before an output reads, and its width.

    Raises:
        NoHiddenState: the output is not that of a linear layer, as `onnx_graph` writes it.
    """
    producers = {name: node for node in graph.node for name in node.output}
    copied = producers.get(output)
    added = producers.get(copied.input[0]) if copied is not None and copied.op_type == "Identity" else None
    product = producers.get(added.input[0]) if added is not None and added.op_type == "Add" else None
    if product is None or product.op_type != "MatMul" or product.input[0] not in producers:
        raise NoHiddenState(f"the output {output!r} of graph {graph.name!r} is not that of a linear layer")
    weight = product.input[1]
    while (node := producers.get(weight)) is not None:  # it is transposed, and cast if stored in half precision
        weight = node.input[0]
    sizes = next(tensor.dims for tensor in graph.initializer if tensor.name == weight)
    return product.input[0], int(sizes[1])


def require_unchanged(before: Bundle, after: Bundle) -> None:
    """Compare all outputs that a bundle had, in every precision that this machine can run.

    Raises:
        ParityFailed: one of them differs in any bit.
    """
    precisions: Sequence[Precision] = ("fp32", *before.manifest.variants)
    for precision in precisions:
        if precision != "fp32" and not can_run(before, precision):
            continue
        old, new = (OrtRunner(bundle, "cpu", precision=precision) for bundle in (before, after))
        inputs = VerificationInputs(old.id_limits, 0, evaluation_task(before.manifest).typical_values(before))
        for graph, spec in before.manifest.graphs.items():
            for feeds in inputs.all_sizes(spec):
                _require_equal(after.path, graph, old.run(graph, feeds), new.run(graph, feeds))


def _require_equal(path: Path, graph: str, expected: Mapping[str, Array], found: Mapping[str, Array]) -> None:
    for name, values in expected.items():
        if not np.array_equal(values, found[name]):
            raise ParityFailed(path, f"output {name!r} of graph {graph!r} would change")


def _record_embedding(staged: Path) -> None:
    """Let the first example have its embedding, so that every load of the bundle checks it."""
    bundle = load_bundle(staged)
    first, *others = bundle.examples
    embedding = recorded_embedding(bundle, task_of(bundle), OrtRunner(bundle, "cpu"), first.inputs)
    write_examples(staged, [replace(first, embedding=embedding), *others])
    write_manifest(staged, bundle.manifest)


def _graph_of(file: Path) -> onnx.ModelProto:
    """A graph; weights that it shares with another are not read."""
    return onnx.load(file, load_external_data=False)
