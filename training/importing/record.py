"""Publishes an imported model: a staged bundle, the original's answers as examples, verified, then one rename."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from service.bundle.load import TRANSITIONS_FILE, Bundle, Example
from service.bundle.manifest import GraphSpec, Limits, Manifest, TrainingFacts
from service.bundle.padding import FloatArray
from service.bundle.task_options import TaskOptions, TensorNote, TensorsOptions
from service.bundle.tokenizer import TextTokenizer
from service.bundle.write import staging_folder, write_examples
from service.errors import InferenceFailed, InvalidInput, ParityFailed
from service.tasks.catalogue import answer, task_of
from service.tasks.core.task import Runner
from service.tasks.recorded import label_scores
from training.importing.card import import_card
from training.importing.examples import examples_of, examples_of_task
from training.importing.graph.source import ImportRefused
from training.importing.typed import TypedGraph
from training.importing.understanding import Draft, Understanding, ranges_of_ids
from training.onnx_graph.parts.builder import serialized
from training.publish.export import free_version, publish_as_new, write_card_and_manifest
from training.publish.parity_report import ParityReport
from training.publish.verify import verify_bundle


@dataclass(frozen=True)
class BundleFacts:
    """What only the importer's user knows of a model.

    Attributes:
        source: the file that it came from, for the card.
        descriptions: of inputs and outputs by name, with their units.
    """

    name: str
    source: str
    version: str = "1"
    description: str = ""
    language: str = ""
    licence: str = ""
    max_input_tokens: int = 512
    descriptions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Imported:
    """The published bundle, and what was measured."""

    path: Path
    report: ParityReport


@dataclass(frozen=True)
class Graph:
    """The graph of a bundle, its tokenizers by role, and the transitions of its CRF."""

    model: onnx.ModelProto
    tokenizers: Mapping[str, TextTokenizer] = field(default_factory=dict)
    transitions: FloatArray | None = None
    has_drawn_examples: bool = False


def publish_arrays(
    understanding: Understanding, facts: BundleFacts, models_root: Path, examples: Path | None = None
) -> Imported:
    """Publish a model as a bundle of the task `tensors`. Raises as `publish_import`."""
    manifest = arrays_manifest(understanding.draft, facts)
    inputs = examples_of(understanding, examples)
    graph = Graph(understanding.draft.model, has_drawn_examples=examples is None)
    return publish_import(understanding, manifest, understanding.original, inputs, facts.source, models_root, graph)


def publish_typed(
    understanding: Understanding,
    typed: TypedGraph,
    facts: BundleFacts,
    models_root: Path,
    examples: Path | None = None,
) -> Imported:
    """Publish a model as a bundle of a typed task. Raises as `publish_import`."""
    manifest = typed_manifest(understanding.draft, typed, facts)
    inputs = examples_of_task(typed, understanding, examples)
    graph = Graph(typed.model, typed.tokenizers, typed.transitions, examples is None)
    return publish_import(understanding, manifest, typed.original, inputs, facts.source, models_root, graph)


def arrays_manifest(draft: Draft, facts: BundleFacts) -> Manifest:
    """The manifest of a bundle of named arrays, without digests and parity."""
    ranges = ranges_of_ids(draft)
    known = {tensor.name for tensor in (*draft.spec.inputs, *draft.spec.outputs)}
    unknown = sorted(facts.descriptions.keys() - known)
    if unknown:
        raise ImportRefused(f"there is no input or output {unknown[0]!r}; there are {', '.join(sorted(known))}")
    notes = {
        name: TensorNote(
            description=facts.descriptions.get(name, ""),
            minimum=ranges[name][0] if name in ranges else None,
            maximum=ranges[name][1] if name in ranges else None,
        )
        for name in dict.fromkeys([*facts.descriptions, *ranges])
    }
    equal = draft.over_time and not draft.has_lengths
    options = TensorsOptions(equal_lengths=equal, fixed_length=draft.foreign.fixed_steps, notes=notes)
    return _manifest(draft, facts, options, {"model": draft.spec})


def typed_manifest(draft: Draft, typed: TypedGraph, facts: BundleFacts) -> Manifest:
    """The manifest of a bundle of a typed task, without digests and parity."""
    tokenizers = dict.fromkeys(typed.tokenizers, "tokenizer.json")
    graphs = {typed.graph: typed.spec}
    return _manifest(draft, facts, typed.options, graphs, labels=typed.labels, tokenizers=tokenizers)


def _manifest(
    draft: Draft, facts: BundleFacts, options: TaskOptions, graphs: dict[str, GraphSpec], **more: Any
) -> Manifest:
    return Manifest(
        name=facts.name,
        version=facts.version,
        task=options.task,
        description=facts.description,
        language=facts.language,
        licence=facts.licence,
        options=options,
        graphs=graphs,
        state=draft.state,
        limits=Limits(max_input_tokens=max(facts.max_input_tokens, draft.foreign.fixed_steps or 1)),
        training=TrainingFacts(parameters=_num_weights(draft.model), library_versions=_versions(draft.model)),
        **{"tokenizers": {}, **more},
    )


def _num_weights(model: onnx.ModelProto) -> int:
    arrays = [numpy_helper.to_array(tensor) for tensor in model.graph.initializer]
    return sum(array.size for array in arrays if np.issubdtype(array.dtype, np.floating))


def _versions(model: onnx.ModelProto) -> dict[str, str]:
    made = {model.producer_name: model.producer_version} if model.producer_name else {}
    return {**made, **{name: version_of(name) for name in ("onnx", "onnxruntime")}}


def publish_import(
    understanding: Understanding,
    manifest: Manifest,
    original: Runner,
    inputs: Sequence[Any],
    source: str,
    models_root: Path,
    graph: Graph,
) -> Imported:
    """Write, verify and publish a bundle under the next free version.

    Args:
        original: answers the examples.
        source: the file that the model came from, for the card.

    Raises:
        ImportRefused: the task refuses an example, or the original fails in it.
        ParityFailed: the bundle does not answer as the original does; nothing is published.
    """
    version = free_version(models_root, manifest.name, manifest.version)
    manifest = manifest.model_copy(update={"version": version})
    staged = staging_folder(models_root, manifest.name)
    try:
        (spec,) = manifest.graphs.values()
        (staged / spec.file).write_bytes(serialized(graph.model))
        bundle = Bundle(staged, manifest, dict(graph.tokenizers), transitions=graph.transitions)
        if graph.transitions is not None:
            np.save(staged / TRANSITIONS_FILE, graph.transitions)
        for role, file in manifest.tokenizers.items():
            bundle.tokenizers[role].save(staged / file)
        examples = recorded(bundle, original, inputs, may_skip=graph.has_drawn_examples)
        write_examples(staged, examples)
        card = partial(import_card, understanding=understanding, source=source)
        write_card_and_manifest(staged, manifest, examples, card)
        report = verify_bundle(staged)
        for check, difference in understanding.proof.checks.items():
            report.note(check, difference)
        if not report.passed:
            raise ParityFailed(staged, "\n".join(["not published.", *report.failures[:10]]))
        proven = manifest.model_copy(update={"parity": report.parity()})
        return Imported(publish_as_new(staged, models_root, proven, examples, card), report)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
        if staged.parent.is_dir() and not any(staged.parent.iterdir()):
            staged.parent.rmdir()


def recorded(bundle: Bundle, original: Runner, inputs: Sequence[Any], *, may_skip: bool) -> list[Example]:
    """The original's answer to each input, through the service's own task code.

    Args:
        may_skip: leave out inputs that it cannot answer, such as drawn ones of which a mean is no number.

    Raises:
        ImportRefused: it answers none of them, or one that may not be left out.
    """
    task, examples, reason = task_of(bundle), list[Example](), ""
    for number, value in enumerate(inputs, start=1):
        try:
            found = answer(task, original, value, {}).model_dump(mode="json")
        except (InvalidInput, InferenceFailed) as error:
            reason = f"example {number} could not be answered by the original: {error}"
            if not may_skip:
                raise ImportRefused(reason) from error
            continue
        examples.append(Example(value, {}, found))
    if not examples:
        raise ImportRefused(reason)
    scores = label_scores(bundle, task, original, examples[0].inputs, {})
    return [replace(examples[0], label_scores=scores), *examples[1:]]
