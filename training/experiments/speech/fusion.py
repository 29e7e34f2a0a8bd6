"""Shallow fusion: greedy decoding, beams, a word list, and language models of the right and of the wrong text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from service.tasks.transcription.decoder import Decoder
from service.tasks.transcription.search.biasing import Biasing
from service.tasks.transcription.search.language_model import LanguageModel
from service.tasks.transcription.search.prefix_beam import PrefixBeamSearch
from service.tasks.transcription.search.spelling import Spelling
from service.tasks.transcription.search.word_list import WordList
from training.data.records import Passage, Utterance
from training.experiments.harness.digits import WORDS, digit_strings
from training.experiments.harness.fitting import Budget, fit, seeded
from training.experiments.harness.outcome import Experiment, Line, Outcome, Panel, Row, Table, Tell
from training.experiments.harness.speech import (
    Recogniser,
    Rows,
    decoded,
    greedy_decoder,
    outputs_of,
    rates,
    speech_recipe,
    train_recogniser,
)
from training.experiments.harness.text import Text, WindowLoss, character_recipe, dev_loss, shakespeare
from training.networks.build import build_network
from training.networks.fused_recogniser import FusedRecogniser
from training.networks.language_model import LanguageModel as LanguageNetwork
from training.networks.network import Network
from training.preprocessing.vocabulary import Vocabulary
from training.tasks.catalogue import TASKS
from training.tasks.generation import generation_vocabulary

#: The orders of the digits that are said, and whether they count upwards.
ORDERS: Final = {"any order": False, "counting": True}


@dataclass(frozen=True)
class Settings:
    """The recogniser is taught digits in any order, and read after `early_step` updates and at the end.

    Where digits count, each is one more than the one before it with the probability `follow`, else any.
    """

    hidden: int = 64
    num_train: int = 1500
    num_dev: int = 200
    shortest: int = 1
    longest: int = 4
    follow: float = 0.8
    num_steps: int = 700
    early_step: int = 300
    learning_rate: float = 0.005
    num_beams: int = 8
    weights: tuple[float, ...] = (0.3, 0.6, 1.0)
    num_lines: int = 2000
    language_hidden: int = 64
    language_steps: int = 400
    max_characters: int = 40_000


@dataclass(frozen=True)
class _Reading:
    """What the recogniser gave of strings of one order after so many updates."""

    updates: int
    order: str
    utterances: Sequence[Utterance]
    rows: Sequence[Rows]

    @property
    def label(self) -> str:
        """The heading of its column."""
        return f"{self.updates} updates, {self.order}"


@dataclass(frozen=True)
class _Language:
    """A trained language model, and what it knows of the digits of dev: nats a character, by order."""

    network: LanguageNetwork
    vocabulary: Vocabulary
    nats: tuple[float, ...]


def run(settings: Settings, tell: Tell) -> Outcome:
    """Train one recogniser and three language models, and decode dev in every way."""
    trained, readings = _readings(settings)
    rows: list[Row] = []

    def measured(label: str, weight: float | None, decoder: Decoder[Any], network: Network) -> list[float]:
        wer = [rates(trained, each.utterances, decoded(decoder, network, each.rows))["wer"] for each in readings]
        rows.append((label, weight, *wer))
        tell(f"{label}, weight {weight}: WER {[round(each, 1) for each in wer]}")
        return wer

    measured("greedy", None, greedy_decoder(trained), trained.network)
    beams = measured("beams", None, _search(trained, settings), trained.network)
    measured("beams, word list", None, _search(trained, settings, words=WORDS), trained.network)
    known: list[Row] = []
    curves: dict[str, list[list[float]]] = {}
    for name, language in _languages(settings).items():
        known.append((name, *language.nats))
        both = FusedRecogniser(trained.network, language.network)
        fused = [
            measured(f"beams, language model: {name}", weight, _search(trained, settings, language, weight), both)
            for weight in settings.weights
        ]
        curves[name] = [beams, *fused]
    columns = {"decoding": "", "weight": ".1f"} | dict.fromkeys((each.label for each in readings), ".1f")
    of_models = {"language model of": ""} | {f"nats a character, {order}": ".2f" for order in ORDERS}
    tables = [Table(columns, rows, "Word errors, %"), Table(of_models, known, "Language models")]
    return Outcome(tables, [_panel(order, readings, curves, settings) for order in ORDERS])


def _panel(order: str, readings: Sequence[_Reading], curves: dict[str, list[list[float]]], settings: Settings) -> Panel:
    """Word errors of strings of one order over the weight of each language model, early and late."""
    lines = [
        Line(f"{name}; {reading.updates}", [0.0, *settings.weights], [wer[place] for wer in found])
        for name, found in curves.items()
        for place, reading in enumerate(readings)
        if reading.order == order
    ]
    return Panel(f"Digits in {order}" if order == "any order" else "Digits that count", "weight", "WER, %", lines)


def _readings(settings: Settings) -> tuple[Recogniser, list[_Reading]]:
    """The recogniser, and dev of each order as it was read early and late."""
    sizes = settings.shortest, settings.longest
    train = [each.utterance for each in digit_strings("train", settings.num_train, *sizes)]
    dev = {
        order: [each.utterance for each in digit_strings("dev", settings.num_dev, *sizes, follow=follow)]
        for order, follow in _follows(settings).items()
    }
    found: list[_Reading] = []

    def read(step: int, recogniser: Recogniser) -> None:
        if step in (settings.early_step, settings.num_steps):
            for order, utterances in dev.items():
                found.append(_Reading(step, order, utterances, outputs_of(recogniser, utterances)))

    recipe = speech_recipe(1, "character", hidden_size=settings.hidden, layer_norm=True)
    trained = train_recogniser(recipe, train, Budget(settings.num_steps, settings.learning_rate), read)
    read(settings.num_steps, trained)
    return trained, found


def _follows(settings: Settings) -> dict[str, float]:
    return {order: settings.follow if counts else 0.0 for order, counts in ORDERS.items()}


def _search(
    recogniser: Recogniser,
    settings: Settings,
    language: _Language | None = None,
    weight: float = 0.0,
    words: Sequence[str] = (),
) -> PrefixBeamSearch:
    """The service's beam search, as it is made for a request."""
    tokenizer = recogniser.vocabulary.tokenizers["text"]
    model = None
    if language is not None:
        spec = language.network.graphs()["step"].spec("step.onnx")
        model = LanguageModel(spec, language.vocabulary.tokenizers["text"], tokenizer)
    spelling = Spelling(tokenizer, "character")
    return PrefixBeamSearch(
        settings.num_beams,
        tokenizer.vocabulary_size,
        language_model=model,
        language_model_weight=weight,
        biasing=Biasing(spelling, WordList(words, spelling.begins_with_blank)) if words else None,
    )


def _languages(settings: Settings) -> dict[str, _Language]:
    """Language models of digits in each order, and of Shakespeare, each trained for as many updates."""
    follows = _follows(settings)
    dev = [digit_lines("dev", settings, follow) for follow in follows.values()]
    texts = {f"digits, {order}": digit_lines("train", settings, follow) for order, follow in follows.items()}
    texts["Shakespeare"] = shakespeare(settings.max_characters).train
    return {name: _language(train, dev, settings) for name, train in texts.items()}


def _language(train: list[Passage], dev: Sequence[list[Passage]], settings: Settings) -> _Language:
    recipe = character_recipe(1, 32, 16, embedding_size=16, hidden_size=settings.language_hidden)
    vocabulary = generation_vocabulary(recipe.tokenizer, train)
    texts = [Text(train, each, vocabulary) for each in dev]
    with seeded(1):
        network = build_network(TASKS["generation"], recipe, vocabulary)
        assert isinstance(network, LanguageNetwork)
        fit(network, WindowLoss(network, recipe, texts[0]), Budget(settings.language_steps, 0.01))
    return _Language(network, vocabulary, tuple(dev_loss(network, text) for text in texts))


def digit_lines(split: str, settings: Settings, follow: float) -> list[Passage]:
    """Strings of digits, one a line: texts alone, other ones than those that are said."""
    generator, lines = np.random.default_rng((2, split == "dev")), list[str]()
    for _ in range(settings.num_lines):
        digits = [int(generator.integers(len(WORDS)))]
        for _ in range(generator.integers(settings.shortest, settings.longest + 1) - 1):
            any_digit = int(generator.integers(len(WORDS)))
            digits.append((digits[-1] + 1) % len(WORDS) if generator.random() < follow else any_digit)
        lines.append(" ".join(WORDS[digit] for digit in digits))
    return [Passage("\n" + "\n".join(lines) + "\n")]


FUSION = Experiment(
    "fusion",
    "Does a language model help a speech recogniser?",
    Settings(),
    Settings(
        hidden=4,
        num_train=16,
        num_dev=2,
        longest=1,
        num_steps=2,
        early_step=1,
        num_beams=2,
        weights=(0.5,),
        num_lines=100,
        language_hidden=4,
        language_steps=1,
        max_characters=2000,
    ),
    run,
)
