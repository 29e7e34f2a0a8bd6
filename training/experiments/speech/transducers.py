"""CTC (Graves et al. 2006) against the transducer (Graves 2012) over the same encoder, with the same updates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from service.tasks.transcription.decoder import Token
from training.data.records import Utterance
from training.experiments.harness.digits import DigitString, digit_strings
from training.experiments.harness.fitting import Budget
from training.experiments.harness.outcome import Experiment, Line, Outcome, Panel, Row, Table, Tell, mean, spread
from training.experiments.harness.probe import num_parameters
from training.experiments.harness.speech import (
    Recogniser,
    greedy_rates,
    rates,
    speech_recipe,
    timed_tokens,
    train_recogniser,
)

#: What is trained on the outputs of the encoder; the shipped recipes of transducers have CTC beside them.
LOSSES: Final[dict[str, dict[str, Any]]] = {
    "CTC": {"decoder": "ctc"},
    "transducer": {"decoder": "transducer", "ctc_weight": 0.0},
    "transducer and CTC": {"decoder": "transducer", "ctc_weight": 0.3},
}
#: What is taught: the unit of a token, and whether digits count upwards.
LESSONS: Final[dict[str, tuple[str, bool]]] = {
    "words, any order": ("word", False),
    "words, counting": ("word", True),
    "characters, any order": ("character", False),
}


@dataclass(frozen=True)
class Settings:
    """Where digits count, each is one more than the one before it with the probability `follow`, else any."""

    lessons: tuple[str, ...] = tuple(LESSONS)
    seeds: int = 1
    hidden: int = 64
    predictor: int = 32
    num_train: int = 1500
    num_dev: int = 200
    shortest: int = 1
    longest: int = 3
    follow: float = 0.8
    num_steps: int = 1000
    learning_rate: float = 0.005
    look_every: int = 100


@dataclass(frozen=True)
class _Trained:
    """One network: word errors over its training, and its row but for the names, as `_COLUMNS` lists it."""

    looks: list[tuple[int, float]]
    measures: tuple[float, ...]


_COLUMNS: Final = {
    "taught": "",
    "loss": "",
    "parameters": ",d",
    "an update, ms": ".0f",
    "WER, any order, %": ".1f",
    "±": ".1f",
    "WER, counting, %": ".1f",
    "± ": ".1f",
    "word is written, ms after it began": ".0f",
    "times as fast as speech": ".0f",
}


def run(settings: Settings, tell: Tell) -> Outcome:
    """Train a forward recogniser of each lesson with each loss."""
    rows: list[Row] = []
    panels: list[Panel] = []
    for lesson in settings.lessons:
        curves: list[Line] = []
        for loss in LOSSES:
            found = [_trained(lesson, loss, seed, settings) for seed in range(1, settings.seeds + 1)]
            rows.append((lesson, loss, *_row([each.measures for each in found])))
            looks = np.array([each.looks for each in found]).mean(axis=0).tolist()
            curves.append(Line(loss, [step for step, _ in looks], [wer for _, wer in looks]))
            tell(f"{lesson}, {loss}: {[(round(step), round(wer, 1)) for step, wer in looks]}")
        panels.append(Panel(lesson.capitalize(), "update", "WER, %", curves, y_limits=(0, 105)))
    return Outcome([Table(_COLUMNS, rows)], panels)


def _trained(lesson: str, loss: str, seed: int, settings: Settings) -> _Trained:
    unit, counts = LESSONS[lesson]
    train = _utterances(_strings("train", counts, settings))
    by_order = [_strings("dev", order, settings) for order in (False, True)]
    dev = _utterances(by_order[counts])
    sizes = {"hidden_size": settings.hidden, "predictor_size": settings.predictor, "joint_size": settings.predictor}
    looks: list[tuple[int, float]] = []

    def look(step: int, recogniser: Recogniser) -> None:
        if step and step % settings.look_every == 0:
            looks.append((step, greedy_rates(recogniser, dev)["wer"]))

    recipe = speech_recipe(seed, unit, layer_norm=True, predictor_dropout=0.0, **sizes, **LOSSES[loss])
    trained = train_recogniser(recipe, train, Budget(settings.num_steps, settings.learning_rate), look)
    timed = [timed_tokens(trained, _utterances(strings)) for strings in by_order]
    errors = [
        rates(trained, _utterances(strings), heard)["wer"] for strings, (heard, _) in zip(by_order, timed, strict=True)
    ]
    looks.append((settings.num_steps, errors[counts]))
    heard, factor = timed[counts]
    delay_ms = 1000 * _delay_s(trained, by_order[counts], heard)
    update_ms = 1000 * trained.history.cpu_s / settings.num_steps
    return _Trained(looks, (num_parameters(trained.network), update_ms, *errors, delay_ms, 1 / factor))


def _strings(split: str, counts: bool, settings: Settings) -> Sequence[DigitString]:
    count = settings.num_train if split == "train" else settings.num_dev
    follow = settings.follow if counts else 0.0
    return digit_strings(split, count, settings.shortest, settings.longest, follow=follow)


def _utterances(strings: Sequence[DigitString]) -> list[Utterance]:
    return [each.utterance for each in strings]


def _row(measures: Sequence[tuple[float, ...]]) -> Row:
    """The means over seeds, and the spread of both error rates."""
    parameters, update_ms, any_order, counting, delay_ms, speed = zip(*measures, strict=True)
    rates = mean(any_order), spread(any_order), mean(counting), spread(counting)
    return int(parameters[0]), mean(update_ms), *rates, mean(delay_ms), mean(speed)


def _delay_s(recogniser: Recogniser, dev: Sequence[DigitString], heard: Sequence[Sequence[Token]]) -> float:
    """The median over the words of strings without an error: from the start of a digit to the end of its last step."""
    tokenizer, delays = recogniser.vocabulary.tokenizers["text"], list[float]()
    for each, tokens in zip(dev, heard, strict=True):
        text = each.utterance.text
        if [token.token_id for token in tokens] == tokenizer.encode(text):
            ends = last_steps(tokens, text, recogniser.recipe.tokenizer.unit)
            delays += [
                (step + 1) * recogniser.step_s - begin for step, (begin, _) in zip(ends, each.places, strict=True)
            ]
    return float(np.median(delays)) if delays else np.nan


def last_steps(heard: Sequence[Token], text: str, unit: str) -> list[int]:
    """The step of the last token of each word of a text that was heard without an error."""
    if unit == "word":
        return [token.step for token in heard]
    ends = np.cumsum([len(word) + 1 for word in text.split()]) - 2
    return [heard[end].step for end in ends]


TRANSDUCERS = Experiment(
    "transducers",
    "Is a transducer better than CTC over the same encoder?",
    Settings(),
    Settings(
        ("words, any order",), seeds=1, hidden=4, predictor=4, num_train=16, num_dev=1, longest=1, num_steps=1,
        look_every=2,
    ),
    run,
)  # fmt: skip
