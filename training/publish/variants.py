"""Add a faster variant to a published bundle, if its dev score is close enough to that of fp32.

    bf16  the same graph files, run by onnxruntime's OpenVINO provider
    int8  further graph files with int8 weights, beside the fp32 ones

For models that run step by step an answer must not depend on its batch: only the step graph is quantised, with fixed
scales, and prompts and source sentences are still read in fp32.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

import onnx

from service.bundle.load import CARD_FILE, Bundle, load_bundle
from service.bundle.manifest import Manifest, Variant, VariantName
from service.bundle.write import publish, staging_folder, write_manifest
from service.errors import UnrollError
from service.inference.runtime.ort_runner import OrtRunner
from service.tasks.catalogue import task_of
from service.tasks.core.task import Runner
from service.tasks.recorded import TOLERANCE, faults_of_embeddings, faults_of_examples
from training.config.recipe import parse_recipe
from training.data.digests import changed_names
from training.data.records import Record
from training.evaluation.evaluate import evaluate_records
from training.evaluation.scoring import ERROR_RATES
from training.evaluation.tasks.catalogue import evaluation_task
from training.onnx_graph.parts.builder import serialized
from training.preprocessing.load_records import load_dev
from training.publish.int8 import depends_on_batch, int8_graph
from training.publish.model_card import model_card
from training.publish.paired_runner import PairedRunner
from training.publish.variant_check import MAX_DROP, describe

_STEP_GRAPHS = frozenset({"decoder_step", "step"})
_SEQUENCE_LENS = 4
_RECURRENT = frozenset({"LSTM", "GRU", "RNN"})

Say = Callable[[str], None]


class VariantRefused(UnrollError):
    """A variant loses too much, or cannot be made; the message has the figures."""


def add_variant(path: Path, name: VariantName, say: Say, dev: Sequence[Record] | None = None) -> Variant:
    """Make, measure and publish a variant of the bundle in `path`; the bundle stays as it was if it is refused.

    `dev` defaults to the dev records of the recipe that the bundle was trained from.

    Raises:
        VariantRefused: it scores too low, answers an example differently, or the graphs cannot be quantised.
        BundleError: the bundle cannot be used, or this machine cannot run the variant.
        UnrollError: the dev data is missing or has changed.
    """
    bundle = load_bundle(path)
    records = dev_records(bundle) if dev is None else dev
    models_root = path.resolve().parents[1]
    staged = staging_folder(models_root, bundle.manifest.name)
    try:
        shutil.copytree(path, staged, dirs_exist_ok=True)
        drafted = _write_draft(staged, bundle, name)
        measured = measure(load_bundle(staged), name, drafted, records)
        say(describe(name, measured))
        require_accepted(path, name, measured)
        _write(staged, load_bundle(staged), name, measured)
        publish(staged, models_root)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return measured


def require_accepted(path: Path, name: VariantName, variant: Variant) -> None:
    """Raises VariantRefused, with the figures, where the loss is too large."""
    if not variant.drop <= MAX_DROP[name]:
        raise VariantRefused(f"{path}: not accepted. {describe(name, variant)}")


def dev_records(bundle: Bundle) -> Sequence[Record]:
    """The dev records of the data that the bundle was trained on.

    Raises:
        UnrollError: the data is unknown, missing or changed.
    """
    manifest = bundle.manifest
    if not manifest.training.config:
        raise UnrollError(f"{bundle.path}: it does not say which data it was trained on, so nothing can be measured")
    recipe = parse_recipe(dict(manifest.training.config), str(bundle.path))
    data = load_dev(evaluation_task(manifest), recipe)
    before, now = manifest.training.data[0].splits, data.source.splits
    if changed_names({name: before[name] for name in before if name in now}, now):
        raise UnrollError(f"{bundle.path}: the data has changed since it was trained, so scores would not compare")
    return data.dev


def measure(bundle: Bundle, name: VariantName, drafted: Variant, dev: Sequence[Record]) -> Variant:
    """The variant with its measurements: dev in fp32 and in the variant, on one CPU thread."""
    fp32 = OrtRunner(bundle, "cpu")
    paired = PairedRunner(fp32, OrtRunner(bundle, "cpu", precision=name))
    examined = task_of(bundle)
    faults = faults_of_examples(examined, bundle.examples, paired, TOLERANCE[name])
    fault = next(chain(faults, faults_of_embeddings(bundle, examined, paired, TOLERANCE[name])), None)
    if fault is not None:
        raise VariantRefused(f"{bundle.manifest.name}: in {name} a recorded answer differs. {fault}")
    deciding, before = dev_score(bundle, fp32, dev)
    _, after = dev_score(bundle, paired, dev)
    return drafted.model_copy(
        update={
            "measure": deciding,
            "fp32_score": before,
            "score": after,
            "drop": loss_of_quality(deciding, before, after),
            "max_difference": paired.max_difference,
            "agreement": paired.agreement,
        }
    )


def dev_score(bundle: Bundle, runner: Runner, dev: Sequence[Record]) -> tuple[str, float]:
    """Name and value of the deciding measure."""
    task = evaluation_task(bundle.manifest)
    loss = task.variant_loss(bundle, runner, dev)
    if loss is not None:
        return "loss", loss
    scores = evaluate_records(task, bundle, runner, dev, parameters=task.quick_parameters)
    deciding = task.deciding_measure(scores, chosen_by(bundle.manifest))
    return deciding, float(scores[deciding])


def chosen_by(manifest: Manifest) -> str:
    """The measure that the recipe of a bundle named; "" if it named none."""
    table = manifest.training.config.get("training")
    return str(table.get("chosen_by", "")) if isinstance(table, dict) else ""


def loss_of_quality(deciding: str, before: float, after: float) -> float:
    """Points lost, of an error rate points gained; for a loss in nats the rise of the perplexity, for `mse` its
    own, both in percent."""
    if deciding in ERROR_RATES:
        return after - before
    if deciding == "mse":
        return 100.0 * (after / before - 1.0) if before else after
    return 100.0 * math.expm1(after - before) if deciding == "loss" else before - after


def _write_draft(staged: Path, bundle: Bundle, name: VariantName) -> Variant:
    """Write the variant's graphs into the staged copy, and a manifest that names them, without measurements."""
    write = _write_int8 if name == "int8" else _choose_bf16
    graphs, depends = write(staged, bundle)
    drafted = Variant(
        graphs=graphs,
        depends_on_batch=depends,
        measure="none",
        score=0.0,
        fp32_score=0.0,
        drop=math.inf,
        max_difference=0.0,
        agreement=0.0,
    )
    _write(staged, bundle, name, drafted.model_copy(update={"drop": 0.0}))
    return drafted


def _write_int8(staged: Path, bundle: Bundle) -> tuple[dict[str, str], bool]:
    files, depends = {}, False
    for graph in evaluation_task(bundle.manifest).int8_graphs:
        try:
            model = int8_graph(onnx.load(bundle.graph_path(graph)), is_step=graph in _STEP_GRAPHS)
        except ValueError as error:
            raise VariantRefused(f"{bundle.path}: {error}") from error
        files[graph] = f"{graph}.int8.onnx"
        depends = depends or depends_on_batch(model)
        (staged / files[graph]).write_bytes(serialized(model))
    return files, depends


def _choose_bf16(_staged: Path, bundle: Bundle) -> tuple[dict[str, str], bool]:
    """Every graph without `sequence_lens`, which OpenVINO ignores with wrong results."""
    graphs = {
        name: spec.file
        for name, spec in bundle.manifest.graphs.items()
        if not uses_sequence_lens(onnx.load(bundle.graph_path(name)))
    }
    if not graphs:
        raise VariantRefused(f"{bundle.path}: its graphs use sequence_lens, which the OpenVINO provider ignores")
    return graphs, False


def uses_sequence_lens(model: onnx.ModelProto) -> bool:
    """Whether a recurrent operator has the input `sequence_lens`."""
    recurrent = (node for node in model.graph.node if node.op_type in _RECURRENT)
    return any(len(node.input) > _SEQUENCE_LENS and node.input[_SEQUENCE_LENS] for node in recurrent)


def _write(staged: Path, bundle: Bundle, name: VariantName, variant: Variant) -> None:
    variants = {**bundle.manifest.variants, name: variant}
    manifest = bundle.manifest.model_copy(update={"variants": variants})
    (staged / CARD_FILE).write_text(model_card(manifest, bundle.examples[0]), encoding="utf-8")
    write_manifest(staged, manifest)
