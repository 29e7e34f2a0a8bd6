"""Add segmentation of raw text to the bundle of a parser: train a segmenter on its treebank, and publish both.

The segmenter shares no weights with the parser, so answers to lists of words stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch

from service.bundle.load import Bundle, load_bundle
from service.bundle.manifest import Score
from service.bundle.task_options import ParsingOptions, SegmenterOptions
from service.bundle.tokenizer import TextTokenizer
from service.errors import UnrollError
from service.inference.runtime.ort_runner import OrtRunner
from training.config.recipe import TrainingConfig
from training.data.readers.treebanks.raw_text import RawText, raw_text
from training.data.records import ParsedSentence, Record
from training.evaluation.answers import Job
from training.evaluation.parsing.raw_text_cuts import RULES
from training.evaluation.parsing.raw_text_evaluation import raw_scores, rule_scores
from training.evaluation.task import Question
from training.evaluation.torch_runner import one_thread
from training.fit.trainer import fit_small
from training.networks.parsing.segmenter import SEGMENTER, Segmenter
from training.preprocessing.parsing.segmentation import (
    SegmentationWindows,
    abbreviations,
    multiword_tables,
    segmenter_alphabet,
)
from training.publish.additions.added_graphs import Addition, add_graphs, data_of

Say = Callable[[str], None]

#: Sizes of the state of one direction and of the embedding of a character, and the share that is dropped in training.
_SIZE: Final = 96
_CHARACTER_SIZE: Final = 48
_DROPOUT: Final = 0.3
_TRAINING: Final = TrainingConfig(learning_rate=3e-3, weight_decay=0.01, batch_size=32, clip_norm=5.0, threads=1)
#: Updates of the weights, whatever the size of the treebank: a small one is read more often.
_UPDATES: Final = 1200
#: Texts, or sentences, of dev in one batch.
_SCORED_TOGETHER: Final = 32
#: With less text than this a segmenter has nothing to learn from.
_MIN_SENTENCES: Final = 20
#: Recorded examples that are texts of the data, and the sentences of each.
_EXAMPLES, _SENTENCES = 2, 3


class NoSegmentation(UnrollError):
    """The bundle cannot be given a segmenter; the message says why."""


def add_segmenter(path: Path, say: Say, updates: int = _UPDATES) -> Path:
    """Train a segmenter on the data of the parser in `path`, and publish the bundle again; its folder is returned.

    Raises:
        NoSegmentation: it is no parser, it cuts text already, or there is too little data.
        NoRawText: the treebank does not give the text of its sentences.
        ParityFailed: an output would change, or a check of `verify` fails; the bundle stays as it was.
        UnrollError: the data is unknown, missing or changed; or the bundle cannot be used.
    """
    bundle = load_bundle(path)
    options = bundle.manifest.options
    if not isinstance(options, ParsingOptions):
        raise NoSegmentation(f"{path}: {bundle.manifest.task} cuts no text into sentences, a parser does")
    if options.segmenter is not None:
        raise NoSegmentation(f"{path}: it cuts text into sentences already")
    data = data_of(bundle)
    train, dev = _parsed(data.train), _parsed(data.dev)
    raw = raw_text(train, f"{path}: train")
    raw_dev = raw_text(dev, f"{path}: dev")
    if len(train) < _MIN_SENTENCES:
        raise NoSegmentation(f"{path}: train has {len(train)} sentences, at least {_MIN_SENTENCES} are needed")
    alphabet = segmenter_alphabet(raw.text)
    addition = Addition(
        _trained(bundle, raw, alphabet, say, updates),
        options.model_copy(update={"segmenter": segmenter_options(train)}),
        {SEGMENTER: alphabet},
        questions=_questions(raw_dev),
    )
    return add_graphs(bundle, addition, partial(_scores, dev=dev, say=say))


def segmenter_options(train: Sequence[ParsedSentence]) -> SegmenterOptions:
    """The options that a treebank asks for."""
    tables = multiword_tables(train)
    surfaces = [sentence.surface for sentence in train if sentence.surface is not None]
    tokens = (surface.text[start:end] for surface in surfaces for start, end, _ in surface.tokens)
    has_blanks = any(len(token.split()) > 1 for token in tokens)
    return SegmenterOptions(
        expansions=tables.expansions,
        suffixes=tables.suffixes,
        abbreviations=abbreviations(train),
        blanks_in_numbers=has_blanks,
    )


def _parsed(records: Sequence[Record]) -> list[ParsedSentence]:
    return [record for record in records if isinstance(record, ParsedSentence)]


@one_thread()
def _trained(bundle: Bundle, raw: RawText, alphabet: TextTokenizer, say: Say, updates: int) -> Segmenter:
    manifest = bundle.manifest
    windows = SegmentationWindows(raw, alphabet, _TRAINING.batch_size, manifest.training.seed)
    epochs = -(-updates // len(windows.epoch(0)))
    config = _TRAINING.model_copy(update={"epochs": epochs, "warmup_steps": updates // 12})
    say(f"learning to cut {len(raw.text):,} characters of {manifest.training.data[0].name} ...")
    torch.manual_seed(manifest.training.seed)
    network = Segmenter(_SIZE, _CHARACTER_SIZE, _DROPOUT, alphabet.vocabulary_size)
    fit_small(network, windows, config, say)
    return network


def _questions(dev: RawText) -> list[Question]:
    """Texts of dev that are recorded with their answers: the first sentences, and the next ones as CoNLL-U too."""
    sentences = dev.sentences[: _EXAMPLES * _SENTENCES]
    found = []
    for number, first in enumerate(range(0, len(sentences), _SENTENCES)):
        part = sentences[first : first + _SENTENCES]
        text = dev.text[part[0][0].start : part[-1][-1].end]
        parameters: Mapping[str, Any] = {"conllu": True} if number else {}
        found.append(Question(text, parameters))
    return found


def _scores(bundle: Bundle, dev: Sequence[ParsedSentence], say: Say) -> list[Score]:
    """F1 from the raw text of dev, beside the cut by rules with the same parser after it."""
    job = Job(bundle, OrtRunner(bundle, "cpu", threads=1), {}, _SCORED_TOGETHER, lambda _percent: None)
    ours, cheap = raw_scores(job, dev), rule_scores(job, dev)
    found = []
    for name, value in ours.items():
        say(f"dev {name} {value:.4g} ({RULES}: {cheap[name]:.4g})")
        found.append(Score(measure=name, value=value, baseline=cheap[name], baseline_name=RULES))
    return found
