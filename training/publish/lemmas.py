"""Add lemmas to the bundle of a parser: train a lemmatizer on its treebank, and publish it with the parser.

The lemmatizer shares no weights with the parser, so the parser stays as it is: before the bundle is published again,
every output that it had must be the same to the last bit, and `verify` must pass with the new graphs.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch

from service.bundle.load import CARD_FILE, Bundle, Example, load_bundle
from service.bundle.manifest import Manifest, Score
from service.bundle.task_options import LemmatizerOptions, ParsingOptions
from service.bundle.write import publish, staging_folder, write_examples, write_manifest
from service.errors import ParityFailed, UnrollError
from service.inference.runtime.ort_runner import OrtRunner
from service.tasks.catalogue import answer, task_of
from service.tasks.core.task import Array, Runner
from training.config.recipe import TrainingConfig, parse_recipe
from training.data.digests import changed_names
from training.data.readers.treebanks.lemmas import words_with_lemmas
from training.data.records import ParsedSentence, Record
from training.evaluation.answers import REFUSED, Job, answers
from training.evaluation.parsing.lemma_accuracy import LOOK_UP, LemmaLookUp, lemma_accuracy, lemmas_of
from training.evaluation.tasks.catalogue import evaluation_task
from training.evaluation.torch_runner import TorchRunner, one_thread
from training.fit.small_fit import fit_small
from training.networks.parsing.lemmatizer import Lemmatizer
from training.onnx_graph.parts.builder import serialized
from training.onnx_graph.weights import round_to_half
from training.onnx_graph.writers import network_graphs
from training.preprocessing.load_records import load_data
from training.preprocessing.parsing.lemma_types import (
    MIN_LEMMAS,
    LemmaSet,
    count_lemmas,
    lemma_table,
    lemma_types,
)
from training.publish.hidden_state import require_unchanged
from training.publish.model_card import model_card
from training.publish.verify import stores_half, verify_bundle

Say = Callable[[str], None]

#: Size of the recurrence, and the share of its inputs and outputs that is dropped in training.
_SIZE: Final = 128
_DROPOUT: Final = 0.2
_TRAINING: Final = TrainingConfig(
    learning_rate=3e-3, weight_decay=0.01, warmup_steps=200, epochs=20, batch_size=64, clip_norm=5.0, threads=1
)
#: Sentences of dev in one batch.
_SCORED_TOGETHER: Final = 32


class NoLemmas(UnrollError):
    """The bundle cannot be given lemmas; the message says why."""


def add_lemmas(path: Path, say: Say, epochs: int = _TRAINING.epochs) -> Path:
    """Train a lemmatizer on the data of the parser in `path`, and publish the bundle again; its folder is returned.

    Raises:
        NoLemmas: it is no parser, it gives lemmas already, or its data has none.
        ParityFailed: an output would change, or a check of `verify` fails; the bundle stays as it was.
        UnrollError: the data is unknown, missing or changed; or the bundle cannot be used.
    """
    bundle = load_bundle(path)
    options = bundle.manifest.options
    if not isinstance(options, ParsingOptions):
        raise NoLemmas(f"{path}: {bundle.manifest.task} gives no lemmas, a parser does")
    if options.lemmatizer is not None:
        raise NoLemmas(f"{path}: it gives lemmas already")
    data = _data_of(bundle)
    network = _trained(bundle, data, say, epochs)
    made = LemmatizerOptions(table=lemma_table(count_lemmas(data.train)))
    models_root = path.resolve().parents[1]
    staged = staging_folder(models_root, bundle.manifest.name)
    try:
        shutil.copytree(path, staged, dirs_exist_ok=True)
        _write(staged, bundle, network, made)
        require_unchanged(bundle, load_bundle(staged))
        _prove(staged, bundle, network, data, say)
        return publish(staged, models_root)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


class _Treebank(NamedTuple):
    """The sentences of a parser's treebank."""

    train: list[ParsedSentence]
    dev: list[ParsedSentence]


def _data_of(bundle: Bundle) -> _Treebank:
    """Train and dev of the parser. Raises UnrollError if they are unknown, missing, changed, or without lemmas."""
    manifest = bundle.manifest
    if not manifest.training.config:
        raise UnrollError(f"{bundle.path}: it does not say which data it was trained on, so lemmas cannot be learned")
    recipe = parse_recipe(dict(manifest.training.config), str(bundle.path))
    data = load_data(evaluation_task(manifest), recipe)
    before, now = manifest.training.data[0].splits, data.source.splits
    if changed_names({name: before[name] for name in before if name in now}, now):
        raise UnrollError(f"{bundle.path}: the data has changed since it was trained, so dev may not be unseen")
    treebank = _Treebank(*(_parsed(records) for records in (data.train, data.dev)))
    found = sum(1 for _ in words_with_lemmas(treebank.train))
    if found < MIN_LEMMAS:
        what = f"{found} words of train have a lemma" if found else "no word of train has a lemma"
        raise NoLemmas(f"{bundle.path}: {what}, at least {MIN_LEMMAS} are needed; they stand in column 3 of CoNLL-U")
    return treebank


def _parsed(records: Sequence[Record]) -> list[ParsedSentence]:
    return [record for record in records if isinstance(record, ParsedSentence)]


@one_thread()
def _trained(bundle: Bundle, data: _Treebank, say: Say, epochs: int) -> Lemmatizer:
    """A lemmatizer for the alphabet and the tags of the parser, rounded to what the bundle stores."""
    manifest, seed = bundle.manifest, bundle.manifest.training.seed
    characters, labels = bundle.tokenizers["characters"], manifest.labels
    config = _TRAINING.model_copy(update={"epochs": epochs})
    types = lemma_types(count_lemmas(data.train))
    examples = LemmaSet(types, characters, labels, LemmatizerOptions().max_characters, config.batch_size, seed)
    say(f"learning the lemmas of {len(examples):,} words from {manifest.training.data[0].name} ...")
    torch.manual_seed(seed)
    network = Lemmatizer(_SIZE, _DROPOUT, characters.vocabulary_size, len(labels))
    fit_small(network, examples, config, say)
    return round_to_half(network) if stores_half(bundle) else network


def _write(staged: Path, bundle: Bundle, network: Lemmatizer, made: LemmatizerOptions) -> None:
    """Add graphs, options and answers to a copy of the bundle."""
    manifest = bundle.manifest
    specs = dict(manifest.graphs)
    for name, graph in network_graphs(network, stores_half(bundle)).items():
        (staged / f"{name}.onnx").write_bytes(serialized(graph.model()))
        specs[name] = graph.spec(f"{name}.onnx")
    options = manifest.options.model_copy(update={"lemmatizer": made})
    size = sum(parameter.numel() for parameter in network.parameters())
    training = manifest.training.model_copy(update={"parameters": manifest.training.parameters + size})
    changes = {"options": options, "graphs": specs, "training": training}
    write_manifest(staged, manifest.model_copy(update=changes))
    staged_bundle = load_bundle(staged)
    write_examples(staged, [_with_lemmas(staged_bundle, example, network) for example in bundle.examples])
    write_manifest(staged, staged_bundle.manifest)


def _prove(staged: Path, before: Bundle, network: Lemmatizer, data: _Treebank, say: Say) -> None:
    """Verify the staged bundle, score its lemmas on dev, and write both into manifest and card."""
    report = verify_bundle(staged, network)
    if not report.passed:
        raise ParityFailed(staged, "\n".join(["not published.", *report.failures[:10]]))
    bundle = load_bundle(staged)
    score = _score(bundle, data)
    say(f"dev {score.measure} {score.value:.4g} ({score.baseline_name}: {score.baseline:.4g}); {score.detail}")
    parity, old = report.parity(), before.manifest.parity
    if old is not None:
        both = old.checks | parity.checks
        checks = {name: max(old.checks.get(name, 0.0), parity.checks.get(name, 0.0)) for name in both}
        largest = max(old.max_difference, parity.max_difference)
        parity = parity.model_copy(update={"checks": checks, "max_difference": largest})
    scores = (*bundle.manifest.scores, score)
    manifest: Manifest = bundle.manifest.model_copy(update={"scores": scores, "parity": parity})
    (staged / CARD_FILE).write_text(model_card(manifest, bundle.examples[0]), encoding="utf-8")
    write_manifest(staged, manifest)


class _AddedGraphs:
    """A runner on torch for the graphs of the lemmatizer, and on onnxruntime for those of the parser."""

    def __init__(self, parser: Runner, network: Lemmatizer) -> None:
        self._parser = parser
        self._lemmatizer = TorchRunner(network)
        self._added = network.graphs().keys()

    def run(self, graph: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run one graph once."""
        return (self._lemmatizer if graph in self._added else self._parser).run(graph, feeds)


@one_thread()
def _with_lemmas(bundle: Bundle, example: Example, network: Lemmatizer) -> Example:
    """A recorded answer with the lemmas that torch gives; all else as it was recorded."""
    runner = _AddedGraphs(OrtRunner(bundle, "cpu", threads=1), network)
    found = answer(task_of(bundle), runner, example.inputs, example.parameters).model_dump(mode="json")
    pairs = zip(example.answer["tokens"], found["tokens"], strict=True)
    tokens: list[dict[str, Any]] = [{**recorded, "lemma": token["lemma"]} for recorded, token in pairs]
    texts = {"conllu": found["conllu"]} if "conllu" in found else {}
    return replace(example, answer={**example.answer, "tokens": tokens, **texts})


def _score(bundle: Bundle, data: _Treebank) -> Score:
    """Accuracy of lemmas on dev, with the tags that the bundle predicts; beside the look-up with the same tags."""
    job = Job(bundle, OrtRunner(bundle, "cpu", threads=1), {}, _SCORED_TOGETHER, lambda _percent: None)
    found: Sequence[Any] = answers(job, [record.words for record in data.dev])
    tags = [_tags_of(record, answered) for record, answered in zip(data.dev, found, strict=True)]
    lemmas = [lemmas_of(record, answered) for record, answered in zip(data.dev, found, strict=True)]
    look_up = LemmaLookUp(data.train)
    ours = lemma_accuracy(data.dev, lemmas, look_up)
    cheap = lemma_accuracy(data.dev, look_up.find_all(data.dev, tags), look_up)
    detail = (
        f"words that train has {ours.seen:.2f} (look-up {cheap.seen:.2f}); the {ours.num_unseen:,} others "
        f"{ours.unseen:.2f} (look-up {cheap.unseen:.2f})"
    )
    return Score(measure="lemmas", value=ours.whole, baseline=cheap.whole, baseline_name=LOOK_UP, detail=detail)


def _tags_of(record: ParsedSentence, answered: Any) -> list[str]:
    return [REFUSED] * len(record.words) if answered is None else [token.tag for token in answered.tokens]
