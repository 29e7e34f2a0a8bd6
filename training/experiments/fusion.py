"""Shallow fusion: CTC with greedy decoding, beams, a word list, and language models of the right and the wrong text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.tasks.core.task import Array
from service.tasks.transcription.search.biasing import Biasing
from service.tasks.transcription.search.language_model import LanguageModel
from service.tasks.transcription.search.prefix_beam import PrefixBeamSearch
from service.tasks.transcription.search.spelling import Spelling
from service.tasks.transcription.search.word_list import WordList
from training.config.recipe import parse_recipe
from training.data.records import Passage, Utterance
from training.evaluation.speech.error_rates import error_rates
from training.evaluation.torch_runner import TorchRunner
from training.experiments.harness.digits import WORDS, digit_strings
from training.experiments.harness.fitting import Budget, fit, seeded
from training.experiments.harness.outcome import Experiment, Line, Outcome, Panel, Row, Table, Tell
from training.experiments.harness.speech import (
    Recogniser,
    best_path,
    log_probs,
    speech_recipe,
    text_of,
    train_recogniser,
)
from training.experiments.harness.text import Text, WindowLoss, shakespeare
from training.networks.build import build_network
from training.tasks.catalogue import TASKS
from training.tasks.generation import generation_vocabulary

#: From the outputs of an utterance to its text.
Decode = Callable[[NDArray[np.float32]], str]


@dataclass(frozen=True)
class Settings:
    """The recogniser writes characters, and is trained so little that it misspells. Language models are as small."""

    hidden: int = 48
    num_train: int = 400
    num_dev: int = 60
    shortest: int = 1
    longest: int = 3
    num_steps: int = 450
    learning_rate: float = 0.005
    num_beams: int = 8
    weights: tuple[float, ...] = (0.2, 0.5, 1.0)
    language_hidden: int = 48
    language_steps: int = 200
    max_characters: int = 60_000


class StepRunner:
    """A `Runner` on the step graph of a language model, whatever the name it is asked for."""

    def __init__(self, runner: TorchRunner) -> None:
        self._runner = runner

    def run(self, graph: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run `step`."""
        return self._runner.run("step", feeds)


@dataclass(frozen=True)
class Fused:
    """A language model as the beam search takes it."""

    model: LanguageModel
    runner: StepRunner


def _language_model(text: Text, recogniser: Recogniser, settings: Settings) -> Fused:
    """Train a character model on a text, for the same number of updates whatever the text."""
    values = {
        "name": "experiment",
        "task": "generation",
        "tokenizer": {"unit": "character"},
        "network": {"dropout": 0.0, "embedding_size": 16, "window": 32, "hidden_size": settings.language_hidden},
        "data": {"dataset": "tiny_shakespeare"},
        "training": {"batch_size": 16},
    }
    recipe = parse_recipe(values, "experiment")
    with seeded(1):
        network = build_network(TASKS["generation"], recipe, text.vocabulary)
    fit(network, WindowLoss(network, recipe, text), Budget(settings.language_steps, 0.01))
    own, others = text.vocabulary.tokenizers["text"], recogniser.vocabulary.tokenizers["text"]
    return Fused(
        LanguageModel(network.graphs()["step"].spec("step.onnx"), own, others), StepRunner(TorchRunner(network))
    )


def _digit_text(utterances: Sequence[Utterance]) -> Text:
    passages = [Passage("\n" + "\n".join(each.text for each in utterances) + "\n")]
    recipe = parse_recipe({"name": "experiment", "task": "generation", "data": {"dataset": "tiny_shakespeare"},
                           "tokenizer": {"unit": "character"}}, "experiment")  # fmt: skip
    return Text(passages, passages, generation_vocabulary(recipe.tokenizer, passages))


def _greedy(recogniser: Recogniser, row: NDArray[np.float32]) -> str:
    return text_of(recogniser, [token for token, _ in best_path(row)])


def _beams(
    recogniser: Recogniser,
    num_beams: int,
    row: NDArray[np.float32],
    fused: Fused | None = None,
    weight: float = 0.0,
    words: Sequence[str] = (),
) -> str:
    tokenizer = recogniser.vocabulary.tokenizers["text"]
    spelling = Spelling(tokenizer, "character")
    biasing = Biasing(spelling, WordList(words, begins_with_blank=False)) if words else None
    search = PrefixBeamSearch(
        num_beams,
        tokenizer.vocabulary_size,
        language_model=fused.model if fused else None,
        language_model_weight=weight,
        biasing=biasing,
    )
    runner: Any = fused.runner if fused else None
    (hypotheses,) = search.advance(runner, [search.start()], [row])
    return text_of(recogniser, [token.token_id for token in search.best(hypotheses, is_final=True).tokens])


def run(settings: Settings, tell: Tell) -> Outcome:
    """Train one recogniser, and decode dev in every way."""
    sizes = settings.shortest, settings.longest
    train = [each.utterance for each in digit_strings("train", settings.num_train, *sizes)]
    dev = [each.utterance for each in digit_strings("dev", settings.num_dev, *sizes)]
    recipe = speech_recipe(1, "character", hidden_size=settings.hidden)
    trained = train_recogniser(recipe, train, Budget(settings.num_steps, settings.learning_rate))
    found = log_probs(trained, dev)
    said = [each.text for each in dev]
    rows: list[Row] = []

    def decoded(label: str, weight: float | None, decode: Decode) -> float:
        rates = error_rates(said, [decode(row) for row in found])
        rows.append((label, weight, rates["wer"], rates["cer"]))
        tell(f"{label}, weight {weight}: WER {rates['wer']:.1f} %")
        return rates["wer"]

    search = partial(_beams, trained, settings.num_beams)
    greedy = decoded("greedy", None, partial(_greedy, trained))
    decoded("beams", None, search)
    listed = decoded("beams, word list", None, partial(search, words=WORDS))
    texts = {"digits": _digit_text(train), "Shakespeare": shakespeare(settings.max_characters)}
    lines = []
    for name, text in texts.items():
        fused = _language_model(text, trained, settings)
        errors = [
            decoded(f"beams, language model of {name}", weight, partial(search, fused=fused, weight=weight))
            for weight in settings.weights
        ]
        lines.append(Line(f"language model of {name}", settings.weights, errors))
    table = Table({"decoding": "", "weight": ".1f", "WER, %": ".1f", "CER, %": ".1f"}, rows)
    levels = {"greedy": greedy, "word list": listed}
    return Outcome([table], [Panel("Shallow fusion", "weight", "WER, %", lines, levels=levels)])


FUSION = Experiment(
    "fusion",
    "Does a language model help a speech recogniser?",
    Settings(),
    Settings(
        hidden=4, num_train=16, num_dev=2, longest=1, num_steps=1, num_beams=2, weights=(0.5,), language_hidden=4,
        language_steps=1, max_characters=2000,
    ),
    run,
)  # fmt: skip
