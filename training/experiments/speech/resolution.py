"""Speech recognition by CTC: duration of a step and width of the network against word errors and real-time factor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from training.data.records import Utterance
from training.experiments.harness.digits import digit_strings
from training.experiments.harness.fitting import Budget
from training.experiments.harness.outcome import Experiment, Line, Outcome, Panel, Row, Table, Tell, mean, spread
from training.experiments.harness.probe import num_parameters
from training.experiments.harness.speech import (
    Recogniser,
    rates,
    speech_recipe,
    timed_tokens,
    train_recogniser,
)
from training.tasks.transcription import needed_steps

_MS_PER_S = 1000.0
_FRAME_MS = 10
_COLUMNS = {
    "token": "",
    "step, ms": "d",
    "LSTM units": "d",
    "parameters": ",d",
    "texts that fit, %": ".0f",
    "WER, %": ".1f",
    "±": ".1f",
    "times as fast as speech": ".0f",
    "an update, ms": ".0f",
}


@dataclass(frozen=True)
class Settings:
    """A frame lasts 10 ms, and a step twice as long for each of `halvings` convolutions."""

    seeds: int = 1
    units: tuple[str, ...] = ("word", "character")
    halvings: tuple[int, ...] = (1, 2, 3, 4)
    hidden: tuple[int, ...] = (16, 128)
    usual_halvings: int = 2
    usual_hidden: int = 64
    num_train: int = 1500
    num_dev: int = 200
    shortest: int = 1
    longest: int = 3
    num_steps: int = 700
    learning_rate: float = 0.005


@dataclass(frozen=True)
class _Shape:
    """A token, the number of convolutions that halve the steps, and the units of the LSTM."""

    unit: str
    halvings: int
    hidden: int


def run(settings: Settings, tell: Tell) -> Outcome:
    """Train recognisers of each unit with every step, and of words with every width."""
    sizes = settings.shortest, settings.longest
    train = [each.utterance for each in digit_strings("train", settings.num_train, *sizes)]
    dev = [each.utterance for each in digit_strings("dev", settings.num_dev, *sizes)]
    rows: dict[_Shape, Row] = {}
    for shape in _shapes(settings):
        rows[shape] = _row(shape, settings, (train, dev))
        tell(f"{shape}: WER {_wer(rows[shape]):.1f} %")
    lines = [
        Line(
            f"{unit}s",
            [_FRAME_MS * 2**halvings for halvings in settings.halvings],
            [_wer(rows[_Shape(unit, halvings, settings.usual_hidden)]) for halvings in settings.halvings],
        )
        for unit in settings.units
    ]
    widths = sorted((*settings.hidden, settings.usual_hidden))
    unit = settings.units[0]
    by_width = Line(
        f"{unit}s", widths, [_wer(rows[_Shape(unit, settings.usual_halvings, hidden)]) for hidden in widths]
    )
    usual_ms = _FRAME_MS * 2**settings.usual_halvings
    panels = [
        Panel(f"Duration of a step, {settings.usual_hidden} units", "step, ms", "WER, %", lines, log_x=True),
        Panel(f"Width, steps of {usual_ms} ms", "LSTM units", "WER, %", [by_width], log_x=True),
    ]
    return Outcome([Table(_COLUMNS, list(rows.values()))], panels)


def _shapes(settings: Settings) -> list[_Shape]:
    """Every step at the usual width for each token, then every other width of the first token at the usual step."""
    steps = [_Shape(unit, halvings, settings.usual_hidden) for unit in settings.units for halvings in settings.halvings]
    return steps + [_Shape(settings.units[0], settings.usual_halvings, hidden) for hidden in settings.hidden]


def _row(shape: _Shape, settings: Settings, data: tuple[Sequence[Utterance], Sequence[Utterance]]) -> Row:
    """Train a network of each seed, and measure it."""
    train, dev = data
    errors, factors, updates_ms = list[float](), list[float](), list[float]()
    for seed in range(1, settings.seeds + 1):
        recipe = speech_recipe(seed, shape.unit, shape.halvings, hidden_size=shape.hidden, layer_norm=True)
        trained = train_recogniser(recipe, train, Budget(settings.num_steps, settings.learning_rate))
        heard, factor = timed_tokens(trained, dev)
        errors.append(rates(trained, dev, heard)["wer"])
        factors.append(factor)
        updates_ms.append(_MS_PER_S * trained.history.cpu_s / settings.num_steps)
    fitting = 100 * mean([fits(trained, each) for each in dev])
    size = num_parameters(trained.network)
    return (
        f"{shape.unit}s", _FRAME_MS * 2**shape.halvings, shape.hidden, size, fitting, mean(errors), spread(errors),
        1 / mean(factors), mean(updates_ms),
    )  # fmt: skip


def fits(recogniser: Recogniser, utterance: Utterance) -> bool:
    """Whether there are steps enough for the tokens of the text, with a blank between equal ones."""
    tokens = recogniser.vocabulary.tokenizers["text"].encode(utterance.text)
    return len(utterance.values) // recogniser.recipe.signal.values_per_step >= needed_steps(tokens)


def _wer(row: Row) -> float:
    found = row[list(_COLUMNS).index("WER, %")]
    assert isinstance(found, float)
    return found


RESOLUTION = Experiment(
    "resolution",
    "How long may a step of a speech recogniser be, and how narrow the network?",
    Settings(),
    Settings(
        seeds=1, units=("word",), halvings=(1, 2), hidden=(8,), usual_hidden=4, num_train=16, num_dev=2, longest=1,
        num_steps=1,
    ),
    run,
)  # fmt: skip
