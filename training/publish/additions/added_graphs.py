"""Add options, and the graphs of a further network, to a published bundle, whose own graphs stay as they are.

A further network shares no weights with those of the bundle: no file of a graph or of a tokenizer that was there may
change, nor any of their outputs in any bit, and `verify` must pass with the new graphs.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from service.bundle.load import CARD_FILE, Bundle, Example, load_bundle
from service.bundle.manifest import Manifest, Parity, Score
from service.bundle.task_options import TaskOptions
from service.bundle.tokenizer import TextTokenizer
from service.bundle.write import publish, staging_folder, write_examples, write_manifest
from service.errors import ParityFailed, UnrollError
from service.inference.runtime.ort_runner import OrtRunner
from service.tasks.catalogue import answer, task_of
from service.tasks.core.task import Array, Runner, run_with_hidden
from service.tasks.recorded import label_scores, recorded_embedding
from training.config.recipe import parse_recipe
from training.data.digests import changed_names
from training.evaluation.task import Question
from training.evaluation.tasks.catalogue import evaluation_task
from training.evaluation.torch_runner import TorchRunner, one_thread
from training.networks.network import Network
from training.onnx_graph.parts.builder import serialized
from training.onnx_graph.weights import round_to_half
from training.onnx_graph.writers import network_graphs
from training.preprocessing.load_records import RunData, load_data
from training.publish.hidden_state import require_unchanged
from training.publish.model_card import model_card
from training.publish.parity_report import TOLERANCE
from training.publish.verify import stores_half, verify_bundle


@dataclass(frozen=True)
class Addition:
    """What is added to a bundle: a trained network, if any; the bundle's options with its own; tokenizers by role.

    The answers to `questions` become further examples.

    `keys` are those of `[network]` with which a recipe asks for the same; the manifest's recipe gets them.
    """

    network: Network | None
    options: TaskOptions
    tokenizers: Mapping[str, TextTokenizer] = field(default_factory=dict)
    keys: Mapping[str, Any] = field(default_factory=dict)
    questions: Sequence[Question] = ()


def add_graphs(bundle: Bundle, addition: Addition, score: Callable[[Bundle], Sequence[Score]]) -> Path:
    """Publish a bundle again with what is added; its folder is returned.

    Weights are rounded to half precision where the bundle stores it. The recorded examples are answered again: what
    agrees with the recorded answer stays as it was recorded, and what is new has the numbers of torch.

    Args:
        score: called with the verified bundle before it is published; its scores go into manifest and card, instead
            of those of the same measures.

    Raises:
        ParityFailed: a file or an output would change, or a check of `verify` fails; the bundle stays as it was.
        ValueError: the bundle has a graph or a tokenizer of that name already.
    """
    network = addition.network
    if network is not None and stores_half(bundle):
        network = round_to_half(network)
    addition = replace(addition, network=network)
    _require_free_names(bundle.manifest, addition)
    models_root = bundle.path.resolve().parents[1]
    staged = staging_folder(models_root, bundle.manifest.name)
    try:
        shutil.copytree(bundle.path, staged, dirs_exist_ok=True)
        _write(staged, bundle, addition)
        _require_same_files(bundle, staged)
        require_unchanged(bundle, load_bundle(staged))
        _prove(staged, bundle.manifest.parity, network, score)
        return publish(staged, models_root)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def data_of(bundle: Bundle) -> RunData:
    """Train and dev of a bundle, read again.

    Raises:
        UnrollError: the bundle does not tell its data, or that is missing or has changed.
    """
    manifest = bundle.manifest
    if not manifest.training.config:
        raise UnrollError(f"{bundle.path}: it does not say which data it was trained on, so nothing can be added")
    data = load_data(evaluation_task(manifest), parse_recipe(dict(manifest.training.config), str(bundle.path)))
    before, now = manifest.training.data[0].splits, data.source.splits
    if changed_names({name: before[name] for name in before if name in now}, now):
        raise UnrollError(f"{bundle.path}: the data has changed since it was trained, so dev may not be unseen")
    return data


def _require_free_names(manifest: Manifest, addition: Addition) -> None:
    for kind, taken, new in (
        ("graph", manifest.graphs.keys(), addition.network.graphs().keys() if addition.network else set()),
        ("tokenizer", manifest.tokenizers.keys(), addition.tokenizers.keys()),
    ):
        if twice := sorted(taken & new):
            raise ValueError(f"{manifest.name} has a {kind} {twice[0]!r} already")


def _write(staged: Path, bundle: Bundle, addition: Addition) -> None:
    """Write graphs, tokenizers, options and answers into a copy of the bundle."""
    manifest, network = bundle.manifest, addition.network
    graphs, tokenizers = dict(manifest.graphs), dict(manifest.tokenizers)
    added = {} if network is None else network_graphs(network, stores_half(bundle))
    for name, graph in added.items():
        graphs[name] = graph.spec(f"{name}.onnx")
        (staged / graphs[name].file).write_bytes(serialized(graph.model()))
    for role, tokenizer in addition.tokenizers.items():
        tokenizers[role] = f"tokenizer_{role}.json"
        tokenizer.save(staged / tokenizers[role])
    size = 0 if network is None else sum(parameter.numel() for parameter in network.parameters())
    config: dict[str, Any] = dict(manifest.training.config)
    if addition.keys:
        config["network"] = {**config.get("network", {}), **addition.keys}
    facts = {"parameters": manifest.training.parameters + size, "config": config}
    training = manifest.training.model_copy(update=facts)
    changes = {"options": addition.options, "graphs": graphs, "tokenizers": tokenizers, "training": training}
    write_manifest(staged, manifest.model_copy(update=changes))
    extended = load_bundle(staged)
    new = [Example(question.inputs, dict(question.parameters), {}) for question in addition.questions]
    write_examples(staged, [_answered_again(extended, example, network) for example in (*bundle.examples, *new)])
    write_manifest(staged, extended.manifest)


def _require_same_files(before: Bundle, staged: Path) -> None:
    """Every graph and tokenizer that the bundle had must be the same bytes."""
    manifest = before.manifest
    variants = [file for variant in manifest.variants.values() for file in variant.graphs.values()]
    for file in {*(spec.file for spec in manifest.graphs.values()), *manifest.tokenizers.values(), *variants}:
        if (before.path / file).read_bytes() != (staged / file).read_bytes():
            raise ParityFailed(staged, f"{file} would change")


def _prove(
    staged: Path, before: Parity | None, network: Network | None, score: Callable[[Bundle], Sequence[Score]]
) -> None:
    """Verify and score the staged bundle, and write both into manifest and card."""
    report = verify_bundle(staged, network)
    if not report.passed:
        raise ParityFailed(staged, "\n".join(["not published.", *report.failures[:10]]))
    bundle = load_bundle(staged)
    found = score(bundle)
    measured = {each.measure for each in found}
    scores = (*(each for each in bundle.manifest.scores if each.measure not in measured), *found)
    parity = report.parity() if before is None else _largest(before, report.parity())
    manifest: Manifest = bundle.manifest.model_copy(update={"scores": scores, "parity": parity})
    (staged / CARD_FILE).write_text(model_card(manifest, bundle.examples[0]), encoding="utf-8")
    write_manifest(staged, manifest)


def _largest(before: Parity, now: Parity) -> Parity:
    """The larger difference of each check: the earlier one compared the graphs that were there with their network."""
    checks = {
        name: max(each.get(name, 0.0) for each in (before.checks, now.checks)) for name in before.checks | now.checks
    }
    return now.model_copy(update={"checks": checks, "max_difference": max(before.max_difference, now.max_difference)})


class _AddedGraphs:
    """A runner on torch for the graphs of a network, and on another runner for the rest."""

    def __init__(self, network: Network, others: Runner) -> None:
        self._added = TorchRunner(network)
        self._others = others

    def run(self, graph: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run one graph once."""
        return self._runner_of(graph).run(graph, feeds)

    def run_with_hidden(self, graph: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """`run`, with every output of the graph."""
        return run_with_hidden(self._runner_of(graph), graph, feeds)

    def _runner_of(self, graph: str) -> Runner:
        return self._added if graph in self._added.graphs else self._others


@one_thread()
def _answered_again(bundle: Bundle, example: Example, network: Network | None) -> Example:
    runner, task = _runner_with(bundle, network), task_of(bundle)
    found = answer(task, runner, example.inputs, example.parameters).model_dump(mode="json")
    changes: dict[str, Any] = {"answer": kept(example.answer, found)}
    if example.label_scores is not None:
        scores = label_scores(bundle, task, runner, example.inputs, example.parameters)
        changes["label_scores"] = kept(example.label_scores, scores)
    if example.embedding is not None:
        changes["embedding"] = kept(example.embedding, recorded_embedding(bundle, task, runner, example.inputs))
    return replace(example, **changes)


def _runner_with(bundle: Bundle, network: Network | None) -> Runner:
    """A runner of the bundle, on torch for the graphs of the network."""
    runner = OrtRunner(bundle, "cpu", threads=1)
    return runner if network is None else _AddedGraphs(network, runner)


def kept(recorded: Any, found: Any) -> Any:
    """`found`, with the recorded number wherever both agree within the tolerance of `verify`."""
    match recorded, found:
        case dict(), dict():
            return {key: kept(recorded.get(key), value) for key, value in found.items()}
        case list(), list() if len(recorded) == len(found):
            return [kept(*pair) for pair in zip(recorded, found, strict=True)]
        case float(), float():
            return recorded if math.isclose(recorded, found, rel_tol=TOLERANCE, abs_tol=TOLERANCE) else found
    return found
