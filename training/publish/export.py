"""Export a trained network as a bundle: stage, write, verify, and publish by an atomic rename."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from service.bundle.load import CARD_FILE, TRANSITIONS_FILE, WEIGHTS_FILE, Bundle, Example
from service.bundle.manifest import GraphSpec, Manifest, Score
from service.bundle.tokenizer import TextTokenizer
from service.bundle.versions import taken_versions
from service.bundle.write import publish_new, staging_folder, write_examples, write_manifest
from service.errors import InvalidInput, ParityFailed
from service.tasks.catalogue import answer, task_of
from service.tasks.recorded import label_scores, recorded_embedding
from training.evaluation.task import Question
from training.evaluation.torch_runner import TorchRunner, one_thread, transitions_of
from training.networks.network import Network
from training.onnx_graph.manifest_draft import BundleDraft, draft_manifest
from training.onnx_graph.parts.builder import Graphs, serialized
from training.onnx_graph.weights import round_to_half, share_weights
from training.onnx_graph.writers import network_graphs
from training.publish.model_card import model_card
from training.publish.parity_report import TOLERANCE, ParityReport
from training.publish.verify import verify_bundle

#: The card of a bundle, from its manifest and its first example.
WriteCard = Callable[[Manifest, Example], str]


@dataclass(frozen=True)
class Exported:
    """Path of the published bundle and its verification report."""

    path: Path
    report: ParityReport


def export_bundle(
    network: Network,
    draft: BundleDraft,
    questions: Sequence[Question],
    models_root: Path,
    *,
    half: bool = True,
    keep_failed: bool = False,
    tolerance: float = TOLERANCE,
    score: Callable[[Path], Sequence[Score]] | None = None,
) -> Exported:
    """Write, verify and publish `models_root/<name>/<version>`.

    A published version is never replaced: where that of `draft` exists, the number after the highest one is taken.

    Nothing in `models_root` changes unless every check passes. The network is not modified: with `half` a copy is
    rounded, and the recorded answers are those of the copy.

    Args:
        questions: at least one; every load of the bundle checks their recorded answers.
        half: store weights as float16, half the size.
        score: called with the verified staged folder; its scores go into manifest and card.
        keep_failed: keep the staged folder when verification fails, for inspection.

    Raises:
        ParityFailed: the graphs do not compute what the network computes; the message lists the first differences.
        ValueError: the network is of an unknown kind, or a weight is beyond the range of float16.
        InvalidInput: the bundle refuses a question.
    """
    network = round_to_half(network) if half else copy.deepcopy(network)
    network.cpu()
    draft = replace(draft, version=free_version(models_root, draft.name, draft.version))
    staged = staging_folder(models_root, draft.name)
    keep = False
    try:
        manifest, examples = write_bundle(staged, network, draft, questions, half)
        report = verify_bundle(staged, network, tolerance=tolerance)
        keep = keep_failed and not report.passed
        if not report.passed:
            raise ParityFailed(staged, "\n".join(["not published.", *report.failures[:10]]))
        scores = (*draft.scores, *(score(staged) if score else ()))
        proven = manifest.model_copy(update={"parity": report.parity(), "scores": scores})
        return Exported(publish_as_new(staged, models_root, proven, examples), report)
    finally:
        if not keep:
            _remove_staged(staged)


def free_version(models_root: Path, name: str, wanted: str) -> str:
    """`wanted` unless it is taken, else the number after the highest version, which then answers requests.

    Versions that a rollback has set aside keep their numbers.
    """
    taken = taken_versions(models_root, name)
    return wanted if int(wanted) not in taken else str(taken[-1] + 1)


def publish_as_new(
    staged: Path, models_root: Path, manifest: Manifest, examples: Sequence[Example], card: WriteCard = model_card
) -> Path:
    """Publish a staged bundle under the version of `manifest`, or under the next one that is free."""
    while True:
        write_card_and_manifest(staged, manifest, examples, card)
        try:
            return publish_new(staged, models_root)
        except FileExistsError:
            version = free_version(models_root, manifest.name, manifest.version)
            manifest = manifest.model_copy(update={"version": version})


def write_bundle(
    folder: Path, network: Network, draft: BundleDraft, questions: Sequence[Question], half: bool
) -> tuple[Manifest, list[Example]]:
    """Write every file of a bundle into an empty folder, unverified; returns its manifest and its examples."""
    graphs = write_graphs(folder, network_graphs(network, half))
    transitions = transitions_of(network)
    if transitions is not None:
        np.save(folder / TRANSITIONS_FILE, transitions)
    manifest = draft_manifest(draft, network, graphs, write_tokenizers(folder, draft.tokenizers))
    bundle = Bundle(folder, manifest, dict(draft.tokenizers), transitions=transitions)
    examples = record_examples(bundle, network, questions)
    write_examples(folder, examples)
    return write_card_and_manifest(folder, manifest, examples), examples


def write_graphs(folder: Path, graphs: Graphs) -> dict[str, GraphSpec]:
    """Write `<graph>.onnx` for each graph, and weights that several share once; returns their manifest entries."""
    models = {f"{name}.onnx": graph.model() for name, graph in graphs.items()}
    weights = share_weights(models.values(), WEIGHTS_FILE)
    if weights:
        (folder / WEIGHTS_FILE).write_bytes(weights)
    for file, model in models.items():
        (folder / file).write_bytes(serialized(model))
    return {name: graph.spec(f"{name}.onnx") for name, graph in graphs.items()}


def write_tokenizers(folder: Path, tokenizers: Mapping[str, TextTokenizer]) -> dict[str, str]:
    """Write each tokenizer once, even if it serves several roles; returns role -> file.

    A single tokenizer is `tokenizer.json`; several are `tokenizer_<role>.json`.
    """
    roles: dict[int, str] = {}
    for role, tokenizer in tokenizers.items():
        roles.setdefault(id(tokenizer), role)
    files = {key: "tokenizer.json" if len(roles) == 1 else f"tokenizer_{role}.json" for key, role in roles.items()}
    for key, role in roles.items():
        tokenizers[role].save(folder / files[key])
    return {role: files[id(tokenizer)] for role, tokenizer in tokenizers.items()}


@one_thread()
def record_examples(bundle: Bundle, network: Network, questions: Sequence[Question]) -> list[Example]:
    """The network's answer to each question, through the service's own task code.

    The first also has all label scores, and the embedding.

    Raises:
        InvalidInput: the task refuses a question, or there is none.
    """
    if not questions:
        raise InvalidInput("a bundle needs at least one example to prove itself with", ("examples",))
    task, runner = task_of(bundle), TorchRunner(network)
    answers = [answer(task, runner, question.inputs, question.parameters) for question in questions]
    first, *others = [
        Example(question.inputs, dict(question.parameters), found.model_dump(mode="json"))
        for question, found in zip(questions, answers, strict=True)
    ]
    scores = label_scores(bundle, task, runner, first.inputs, first.parameters)
    embedding = recorded_embedding(bundle, task, runner, first.inputs)
    return [replace(first, label_scores=scores, embedding=embedding), *others]


def write_card_and_manifest(
    folder: Path, manifest: Manifest, examples: Sequence[Example], card: WriteCard = model_card
) -> Manifest:
    """Write the two files that depend on all others; returns the manifest with every digest."""
    (folder / CARD_FILE).write_text(card(manifest, examples[0]), encoding="utf-8")
    return write_manifest(folder, manifest)


def _remove_staged(staged: Path) -> None:
    shutil.rmtree(staged, ignore_errors=True)
    if staged.parent.is_dir() and not any(staged.parent.iterdir()):
        staged.parent.rmdir()
