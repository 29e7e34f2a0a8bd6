"""Add a grammar to the bundle of a translation that was published without one, or with another. Its graphs stay."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from service.bundle.load import Bundle, load_bundle
from service.bundle.manifest import Score
from service.bundle.task_options import TranslationOptions
from service.errors import UnrollError
from service.inference.runtime.ort_runner import OrtRunner
from service.tasks.seq2seq.grammar.parse_table import GrammarError
from service.tasks.seq2seq.grammar.word_grammar import WordGrammar
from training.evaluation.evaluate import evaluate_records
from training.evaluation.grammar.parse_shares import PARSES
from training.evaluation.tasks.catalogue import evaluation_task
from training.publish.additions.added_graphs import Addition, add_graphs, data_of

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
        NoGrammar: it is no translation, has this grammar already, its words cannot write what the grammar parses, or
            its card tells how many answers parse by another, and its data is not there.
        ParityFailed: a check of `verify` fails; the bundle stays as it was.
        BundleError: the bundle cannot be used.
    """
    bundle = load_bundle(path)
    addition = Addition(None, _options_with(bundle, grammar), keys={"grammar": grammar})
    published = add_graphs(bundle, addition, lambda extended: _scores(extended, bundle, say))
    pairs = zip(bundle.examples, load_bundle(published).examples, strict=True)
    num_changed = sum(before.answer != after.answer for before, after in pairs)
    return Added(published, num_changed, len(bundle.examples))


def _options_with(bundle: Bundle, grammar: str) -> TranslationOptions:
    manifest, options = bundle.manifest, bundle.manifest.options
    if not isinstance(options, TranslationOptions):
        raise NoGrammar(f"{bundle.path}: {manifest.task} takes no grammar, a translation does")
    if options.grammar == grammar:
        raise NoGrammar(f"{bundle.path}: it has this grammar already")
    try:
        WordGrammar(grammar, bundle.tokenizers["target"], options.copying, manifest.limits.max_new_tokens)
    except GrammarError as error:
        raise NoGrammar(f"{bundle.path}: {error}") from error
    return options.model_copy(update={"grammar": grammar})


def _scores(bundle: Bundle, before: Bundle, say: Say) -> Sequence[Score]:
    """The scores on dev, measured anew, and the share of answers that parse; as they were without the data."""
    kept = [score for score in before.manifest.scores if score.measure != PARSES]
    task = evaluation_task(bundle.manifest)
    try:
        dev = data_of(before).dev
    except UnrollError as error:
        if len(kept) < len(before.manifest.scores):  # of the grammar before, which would be told of this one
            raise NoGrammar(f"{before.path}: the answers that parse cannot be counted anew: {error}") from error
        say(f"the card does not tell how many answers parse: {error}")
        return kept
    found = evaluate_records(task, bundle, OrtRunner(bundle, "cpu", threads=1), dev, progress=True)
    own = task.own_baselines[PARSES]
    parses = Score(
        measure=PARSES,
        value=found[PARSES],
        baseline=found[own.measure],
        baseline_name=own.name,
        detail=found[f"{PARSES}_signature"],
    )
    say(f"dev parses {parses.value:.4g} ({parses.detail}); exact {found['exact']:.4g}")
    return [*(score.model_copy(update={"value": found.get(score.measure, score.value)}) for score in kept), parses]
