"""Add a grammar to the bundle of a translation that was published without one, or with another. Its graphs stay."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from service.bundle.load import Bundle, Example, load_bundle
from service.bundle.manifest import Manifest, Score
from service.bundle.task_options import TranslationOptions
from service.bundle.write import publish, staging_folder, write_examples, write_manifest
from service.errors import ParityFailed, UnrollError
from service.inference.runtime.ort_runner import OrtRunner
from service.tasks.catalogue import answer, task_of
from service.tasks.recorded import differences
from service.tasks.seq2seq.grammar.parse_table import GrammarError
from service.tasks.seq2seq.grammar.word_grammar import WordGrammar
from training.config.recipe import parse_recipe
from training.data.digests import changed_names
from training.evaluation.answers import Scores
from training.evaluation.evaluate import evaluate_records
from training.evaluation.grammar.parse_shares import PARSES
from training.evaluation.tasks.catalogue import evaluation_task
from training.evaluation.torch_runner import one_thread
from training.preprocessing.load_records import load_dev
from training.publish.export import write_card_and_manifest
from training.publish.verify import TOLERANCE, verify_bundle

Say = Callable[[str], None]


class NoGrammar(UnrollError):
    """The bundle cannot be given the grammar; the message says why."""


class Added(NamedTuple):
    """The published bundle, and how many of its recorded answers the grammar has changed."""

    path: Path
    num_changed: int
    num_examples: int


def add_grammar(path: Path, grammar: str, say: Say) -> Added:
    """Publish the bundle in `path` again with a grammar, whose text `grammar` is.

    Recorded answers that the grammar changes are recorded anew. It is scored on its dev data where that is there.

    Raises:
        NoGrammar: it is no translation, has this grammar already, or its words cannot write what the grammar parses.
        ParityFailed: a check of `verify` fails; the bundle stays as it was.
        BundleError: the bundle cannot be used.
    """
    bundle = load_bundle(path)
    manifest = _with_grammar(bundle, grammar)
    models_root = path.resolve().parents[1]
    staged = staging_folder(models_root, manifest.name)
    try:
        shutil.copytree(path, staged, dirs_exist_ok=True)
        write_manifest(staged, manifest)
        made = load_bundle(staged)
        examples, num_changed = _recorded(made)
        write_examples(staged, examples)
        scores = _scores(made, say)
        write_card_and_manifest(staged, made.manifest.model_copy(update={"scores": scores}), examples)
        report = verify_bundle(staged)
        if not report.passed:
            raise ParityFailed(staged, "\n".join(["not published.", *report.failures[:10]]))
        return Added(publish(staged, models_root), num_changed, len(examples))
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _with_grammar(bundle: Bundle, grammar: str) -> Manifest:
    """The manifest with the grammar, in its options and in the recipe that further training reads."""
    manifest, options = bundle.manifest, bundle.manifest.options
    if not isinstance(options, TranslationOptions):
        raise NoGrammar(f"{bundle.path}: {manifest.task} takes no grammar, a translation does")
    if options.grammar == grammar:
        raise NoGrammar(f"{bundle.path}: it has this grammar already")
    try:
        WordGrammar(grammar, bundle.tokenizers["target"], options.copying, manifest.limits.max_new_tokens)
    except GrammarError as error:
        raise NoGrammar(f"{bundle.path}: {error}") from error
    config: dict[str, Any] = dict(manifest.training.config)
    if isinstance(network := config.get("network"), dict):
        config["network"] = {**network, "grammar": grammar}
    training = manifest.training.model_copy(update={"config": config})
    return manifest.model_copy(
        update={"options": options.model_copy(update={"grammar": grammar}), "training": training}
    )


@one_thread()
def _recorded(bundle: Bundle) -> tuple[list[Example], int]:
    """The examples, and how many of them had another answer. What stays is as torch gave it."""
    task, runner = task_of(bundle), OrtRunner(bundle, "cpu", threads=1)
    examples, num_changed = list[Example](), 0
    for example in bundle.examples:
        found = answer(task, runner, example.inputs, example.parameters).model_dump(mode="json")
        is_same = not differences(example.answer, found, TOLERANCE)
        examples.append(example if is_same else replace(example, answer=found))
        num_changed += not is_same
    return examples, num_changed


def _scores(bundle: Bundle, say: Say) -> tuple[Score, ...]:
    """The scores on dev, measured anew, and the share of answers that parse; as they were without the data."""
    before = bundle.manifest.scores
    try:
        found = _measured(bundle)
    except UnrollError as error:
        say(f"the card does not tell how many answers parse: {error}")
        return before
    kept = [score for score in before if score.measure != PARSES]
    anew = [score.model_copy(update={"value": found.get(score.measure, score.value)}) for score in kept]
    own = evaluation_task(bundle.manifest).own_baselines[PARSES]
    parses = Score(
        measure=PARSES,
        value=found[PARSES],
        baseline=found[own.measure],
        baseline_name=own.name,
        detail=found[f"{PARSES}_signature"],
    )
    say(f"dev parses {parses.value:.4g} ({parses.detail}); exact {found['exact']:.4g}")
    return (*anew, parses)


def _measured(bundle: Bundle) -> Scores:
    """Measures on the dev data of the training. Raises UnrollError if it is unknown, missing or changed."""
    manifest = bundle.manifest
    if not manifest.training.config:
        raise UnrollError("the bundle does not say which data it was trained on")
    task, recipe = evaluation_task(manifest), parse_recipe(dict(manifest.training.config), str(bundle.path))
    data = load_dev(task, recipe)
    trained = dict(manifest.training.data[0].splits) if manifest.training.data else {}
    now = data.source.splits
    if changed_names({name: trained[name] for name in trained if name in now}, now):
        raise UnrollError("its data has changed since it was trained")
    return evaluate_records(task, bundle, OrtRunner(bundle, "cpu", threads=1), data.dev, progress=True)
