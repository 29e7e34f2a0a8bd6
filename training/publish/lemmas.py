"""Add lemmas to the bundle of a parser: train a lemmatizer on its treebank, and publish it with the parser.

The lemmatizer shares no weights with the parser, so the parser stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch

from service.bundle.load import Bundle, load_bundle
from service.bundle.manifest import Score
from service.bundle.task_options import LemmatizerOptions, ParsingOptions
from service.errors import UnrollError
from service.inference.runtime.ort_runner import OrtRunner
from training.config.recipe import TrainingConfig
from training.data.readers.treebanks.lemmas import words_with_lemmas
from training.data.records import ParsedSentence, Record
from training.evaluation.answers import REFUSED, Job, answers
from training.evaluation.parsing.lemma_accuracy import LOOK_UP, LemmaLookUp, lemma_accuracy, lemmas_of
from training.evaluation.torch_runner import one_thread
from training.fit.small_fit import fit_small
from training.networks.parsing.lemmatizer import Lemmatizer
from training.preprocessing.parsing.lemma_types import (
    MIN_LEMMAS,
    LemmaSet,
    count_lemmas,
    lemma_table,
    lemma_types,
)
from training.publish.added_graphs import Addition, add_graphs, data_of

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
    if "characters" not in bundle.tokenizers:
        raise NoLemmas(f"{path}: its parser reads no characters, so it has no alphabet to write lemmas with")
    data = _treebank_of(bundle)
    made = LemmatizerOptions(table=lemma_table(count_lemmas(data.train)))
    addition = Addition(_trained(bundle, data, say, epochs), options.model_copy(update={"lemmatizer": made}))
    return add_graphs(bundle, addition, partial(_scores, data=data, say=say))


class _Treebank(NamedTuple):
    """The sentences of a parser's treebank."""

    train: list[ParsedSentence]
    dev: list[ParsedSentence]


def _treebank_of(bundle: Bundle) -> _Treebank:
    """Train and dev of the parser. Raises NoLemmas if too few words of train have a lemma."""
    data = data_of(bundle)
    treebank = _Treebank(_parsed(data.train), _parsed(data.dev))
    found = sum(1 for _ in words_with_lemmas(treebank.train))
    if found < MIN_LEMMAS:
        what = f"{found} words of train have a lemma" if found else "no word of train has a lemma"
        raise NoLemmas(f"{bundle.path}: {what}, at least {MIN_LEMMAS} are needed; they stand in column 3 of CoNLL-U")
    return treebank


def _parsed(records: Sequence[Record]) -> list[ParsedSentence]:
    return [record for record in records if isinstance(record, ParsedSentence)]


@one_thread()
def _trained(bundle: Bundle, data: _Treebank, say: Say, epochs: int) -> Lemmatizer:
    """A lemmatizer for the alphabet and the tags of the parser."""
    manifest, seed = bundle.manifest, bundle.manifest.training.seed
    characters, labels = bundle.tokenizers["characters"], manifest.labels
    config = _TRAINING.model_copy(update={"epochs": epochs})
    types = lemma_types(count_lemmas(data.train))
    examples = LemmaSet(types, characters, labels, LemmatizerOptions().max_characters, config.batch_size, seed)
    say(f"learning the lemmas of {len(examples):,} words from {manifest.training.data[0].name} ...")
    torch.manual_seed(seed)
    network = Lemmatizer(_SIZE, _DROPOUT, characters.vocabulary_size, len(labels))
    fit_small(network, examples, config, say)
    return network


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
