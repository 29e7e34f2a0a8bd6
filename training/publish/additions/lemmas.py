"""Add lemmas to the bundle of a parser that was published without them: the table of its treebank."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from service.bundle.load import Bundle, load_bundle
from service.bundle.manifest import Score
from service.bundle.task_options import LemmatizerOptions, ParsingOptions
from service.inference.runtime.ort_runner import OrtRunner
from training.data.records import ParsedSentence, Record
from training.evaluation.answers import REFUSED, Job, answers
from training.evaluation.parsing.lemma_accuracy import LOOK_UP, LemmaLookUp, lemma_accuracy, lemmas_of
from training.preprocessing.parsing.lemma_types import NoLemmas, count_lemmas, lemma_table, require_lemmas
from training.publish.additions.added_graphs import Addition, add_graphs, data_of

Say = Callable[[str], None]

#: Sentences of dev in one batch.
_SCORED_TOGETHER: Final = 32


def add_lemmas(path: Path, say: Say) -> Path:
    """Publish the bundle of a parser again with the lemmas of its treebank; its folder is returned.

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
    data = data_of(bundle)
    treebank = _Treebank(_parsed(data.train), _parsed(data.dev))
    require_lemmas(treebank.train)
    made = LemmatizerOptions(table=lemma_table(count_lemmas(treebank.train)))
    addition = Addition(None, options.model_copy(update={"lemmatizer": made}), keys={"lemmas": True})
    return add_graphs(bundle, addition, partial(_scores, data=treebank, say=say))


class _Treebank(NamedTuple):
    """The sentences of a parser's treebank."""

    train: list[ParsedSentence]
    dev: list[ParsedSentence]


def _parsed(records: Sequence[Record]) -> list[ParsedSentence]:
    return [record for record in records if isinstance(record, ParsedSentence)]


def _scores(bundle: Bundle, data: _Treebank, say: Say) -> list[Score]:
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
    say(f"dev lemmas {ours.whole:.4g} ({LOOK_UP}: {cheap.whole:.4g}); {detail}")
    return [Score(measure="lemmas", value=ours.whole, baseline=cheap.whole, baseline_name=LOOK_UP, detail=detail)]


def _tags_of(record: ParsedSentence, answered: Any) -> list[str]:
    return [REFUSED] * len(record.words) if answered is None else [token.tag for token in answered.tokens]
