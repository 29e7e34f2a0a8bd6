"""Ablation of a named-entity tagger: character features, CRF and word vectors, alone and combined."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from training.evaluation.baselines.tagging import most_frequent_tag
from training.experiments.harness.outcome import Experiment, Outcome, Panel, Row, Table, Tell, mean, spread
from training.experiments.harness.tagged import VECTORS, Corpus, Tagged, corpus, tagger_recipe, train_tagger

DATASET = "uner_english_ewt"


@dataclass(frozen=True)
class Settings:
    """A full grid: character features or none, CRF or softmax, pretrained word vectors or none."""

    with_vectors: tuple[bool, ...] = (False, True)
    hidden: int = 48
    seeds: int = 1
    num_train: int = 2000
    num_dev: int = 800
    epochs: int = 5
    dropout: float = 0.25
    learning_rate: float = 0.006


def _train(vectors: bool, characters: bool, crf: bool, seed: int, settings: Settings, sentences: Corpus) -> Tagged:
    recipe = tagger_recipe(
        DATASET,
        seed,
        VECTORS if vectors else "",
        hidden_size=settings.hidden,
        word_size=100,
        characters="cnn" if characters else "none",
        character_hidden_size=32,
        dropout=settings.dropout,
        decoder="crf" if crf else "softmax",
    )
    return train_tagger(recipe, sentences, settings.epochs, settings.learning_rate)


def run(settings: Settings, tell: Tell) -> Outcome:
    """Train all combinations with every seed, and compare with a most-frequent-tag baseline."""
    sentences = corpus(DATASET, settings.num_train, settings.num_dev)
    baseline = most_frequent_tag(sentences.train, sentences.dev)
    rows: list[Row] = []
    bars = {}
    for vectors, characters, crf in product(settings.with_vectors, (False, True), (False, True)):
        seeds = range(1, settings.seeds + 1)
        runs = [_train(vectors, characters, crf, seed, settings, sentences) for seed in seeds]
        scores = [each.measures["f1"] for each in runs]
        parts = ("vectors" if vectors else "-", "chars" if characters else "-", "CRF" if crf else "softmax")
        words_right = mean([each.measures["accuracy"] for each in runs])
        rows.append((*parts, mean(scores), spread(scores), words_right, mean([each.cpu_s for each in runs])))
        bars["\n".join(parts)] = (mean(scores), spread(scores))
        tell(f"{', '.join(parts)}: {scores}")
    counts = baseline.measures
    rows.append((baseline.name, "", "", counts["f1"], None, counts["accuracy"], None))
    columns = {"vectors": "", "characters": "", "decoder": "", "span F1, %": ".1f", "±": ".1f", "words right, %": ".2f"}
    levels = {baseline.name: counts["f1"]}
    panel = Panel("Names in English web text", "parts of the network", "span F1, %", bars=bars, levels=levels)
    return Outcome([Table(columns | {"seconds a run": ".0f"}, rows)], [panel])


ABLATION = Experiment(
    "ablation",
    "What do characters, a CRF and word vectors each bring to finding names?",
    Settings(),
    Settings(with_vectors=(False,), hidden=4, seeds=1, num_train=40, num_dev=20, epochs=1),
    run,
)
