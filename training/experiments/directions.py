"""Unidirectional against bidirectional part-of-speech tagging."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from training.evaluation.baselines.tagging import most_frequent_tag
from training.evaluation.torch_runner import evaluating
from training.experiments.cells import recurrent_parameters
from training.experiments.harness.outcome import Experiment, Outcome, Panel, Row, Table, Tell, mean, spread
from training.experiments.harness.probe import num_parameters
from training.experiments.harness.tagged import Corpus, Tagged, corpus, tagger_recipe, train_tagger
from training.preprocessing.batches import TaggingBatch
from training.preprocessing.padded_sequences import length_mask
from training.tasks.catalogue import training_task

DATASET = "ud_english_ewt"


@dataclass(frozen=True)
class Settings:
    """A bidirectional layer has `hidden` units per direction; a forward layer has as many, or as many parameters."""

    hidden: int = 48
    word_size: int = 64
    character_hidden: int = 32
    seeds: int = 2
    num_train: int = 3000
    num_dev: int = 800
    epochs: int = 6
    dropout: float = 0.25
    learning_rate: float = 0.006


@dataclass(frozen=True)
class _Accuracies:
    """Accuracy in percent on all words, on first words of a sentence, and on last words."""

    all: float
    first: float
    last: float
    parameters: int
    cpu_s: float


def wide_forward(input_size: int, hidden: int) -> int:
    """The width of a forward layer with as many recurrent parameters as a bidirectional one of `hidden`."""
    wanted = 2 * recurrent_parameters("lstm", input_size, hidden)
    widths = range(hidden, 2 * hidden + 1)
    return min(widths, key=lambda width: abs(recurrent_parameters("lstm", input_size, width) - wanted))


def _train(hidden: int, bidirectional: bool, seed: int, settings: Settings, sentences: Corpus) -> _Accuracies:
    recipe = tagger_recipe(
        DATASET,
        seed,
        hidden_size=hidden,
        bidirectional=bidirectional,
        word_size=settings.word_size,
        character_hidden_size=settings.character_hidden,
        dropout=settings.dropout,
    )
    tagged = train_tagger(recipe, sentences, settings.epochs, settings.learning_rate)
    dev = training_task(recipe).training_set(recipe, tagged.vocabulary, sentences.dev)
    right = _right_words(tagged, dev.batch(np.arange(len(sentences.dev))))
    firsts, lasts = [row[0] for row in right], [row[-1] for row in right]
    everywhere, first, last = (100 * float(np.mean(each)) for each in (np.concatenate(right), firsts, lasts))
    return _Accuracies(everywhere, first, last, num_parameters(tagged.network.encoder), tagged.cpu_s)


@torch.no_grad()
def _right_words(tagged: Tagged, batch: object) -> list[NDArray[np.bool_]]:
    """For each sentence, which words are tagged correctly."""
    assert isinstance(batch, TaggingBatch)
    with evaluating(tagged.network):
        predicted = tagged.network.emissions(batch.words, batch.characters, batch.lengths).argmax(dim=2)
    right, inside = predicted == batch.tags, length_mask(batch.lengths, batch.tags.shape[1])
    return [row[mask].numpy() for row, mask in zip(right, inside, strict=True)]


def run(settings: Settings, tell: Tell) -> Outcome:
    """Train forward, wide forward and bidirectional taggers with every seed, beside a most-frequent-tag baseline."""
    sentences = corpus(DATASET, settings.num_train, settings.num_dev)
    baseline = most_frequent_tag(sentences.train, sentences.dev)
    wide = wide_forward(settings.word_size + settings.character_hidden, settings.hidden)
    networks = {
        f"forward, {settings.hidden}": (settings.hidden, False),
        f"forward, {wide}": (wide, False),
        f"both, 2 × {settings.hidden}": (settings.hidden, True),
    }
    rows: list[Row] = []
    bars = {}
    for label, (hidden, bidirectional) in networks.items():
        runs = [_train(hidden, bidirectional, seed, settings, sentences) for seed in range(1, settings.seeds + 1)]
        everywhere = [each.all for each in runs]
        bars[label] = (mean(everywhere), spread(everywhere))
        edges = (mean([r.first for r in runs]), mean([r.last for r in runs]))
        rows.append((label, runs[0].parameters, *bars[label], *edges, mean([r.cpu_s for r in runs])))
        tell(f"{label}: {everywhere}")
    accuracy = baseline.measures["accuracy"]
    rows.append((baseline.name, None, accuracy, None, None, None, None))
    columns = {"LSTM": "", "recurrent parameters": ",d", "words right, %": ".2f", "±": ".2f", "first words": ".2f"}
    table = Table(columns | {"last words": ".2f", "seconds a run": ".0f"}, rows)
    bounds = (min(accuracy, *(height for height, _ in bars.values())) - 1, 100.0)
    levels = {baseline.name: accuracy}
    panel = Panel("Parts of speech, English", "LSTM units", "words right, %", bars=bars, levels=levels, y_limits=bounds)
    return Outcome([table], [panel])


DIRECTIONS = Experiment(
    "directions",
    "Does reading in both directions help a tagger, or only the parameters that come with it?",
    Settings(),
    Settings(hidden=4, word_size=4, character_hidden=4, seeds=1, num_train=40, num_dev=20, epochs=1),
    run,
)
