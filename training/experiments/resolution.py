"""Speech recognition by CTC: duration of a step and width of the network against word errors and real-time factor."""

from __future__ import annotations

from dataclasses import dataclass

from training.experiments.harness.digits import digit_strings
from training.experiments.harness.fitting import Budget
from training.experiments.harness.outcome import Experiment, Line, Outcome, Panel, Row, Table, Tell
from training.experiments.harness.probe import num_parameters
from training.experiments.harness.speech import greedy_rates, real_time_factor, speech_recipe, train_recogniser

_MS_PER_S = 1000.0


@dataclass(frozen=True)
class Settings:
    """A step lasts 10 ms, twice as long for each of `halvings` convolutions."""

    units: tuple[str, ...] = ("word", "character")
    halvings: tuple[int, ...] = (1, 2, 3, 4)
    hidden: tuple[int, ...] = (16, 64, 128)
    usual_halvings: int = 2
    usual_hidden: int = 64
    num_train: int = 600
    num_dev: int = 60
    shortest: int = 1
    longest: int = 3
    num_steps: int = 400
    learning_rate: float = 0.005


def run(settings: Settings, tell: Tell) -> Outcome:
    """Train recognisers of each unit with every step, and of words with every width."""
    sizes = settings.shortest, settings.longest
    train = [each.utterance for each in digit_strings("train", settings.num_train, *sizes)]
    dev = [each.utterance for each in digit_strings("dev", settings.num_dev, *sizes)]
    rows: list[Row] = []

    def measured(unit: str, halvings: int, hidden: int) -> tuple[float, float]:
        recipe = speech_recipe(1, unit, halvings, hidden_size=hidden)
        trained = train_recogniser(recipe, train, Budget(settings.num_steps, settings.learning_rate))
        errors, factor = greedy_rates(trained, dev)["wer"], real_time_factor(trained, dev)
        step_ms, size = _MS_PER_S * trained.step_s, num_parameters(trained.network)
        rows.append((unit, step_ms, hidden, size, errors, 1 / factor, trained.history.cpu_s))
        tell(f"{unit}, {step_ms:g} ms, {hidden} units: WER {errors:.1f} %, factor {factor:.4f}")
        return errors, factor

    lines = [
        Line(
            f"{unit}s",
            [10.0 * 2**halvings for halvings in settings.halvings],
            [measured(unit, halvings, settings.usual_hidden)[0] for halvings in settings.halvings],
        )
        for unit in settings.units
    ]
    widths = [measured("word", settings.usual_halvings, hidden)[0] for hidden in settings.hidden]
    columns = {"token": "", "step, ms": ".0f", "units": "d", "parameters": ",d", "WER, %": ".1f"}
    table = Table(columns | {"times as fast as speech": ".0f", "training, s": ".0f"}, rows)
    panels = [
        Panel("Duration of a step", "step, ms", "WER, %", lines, log_x=True),
        Panel("Width, words", "LSTM units", "WER, %", [Line("words", settings.hidden, widths)], log_x=True),
    ]
    return Outcome([table], panels)


RESOLUTION = Experiment(
    "resolution",
    "How long may a step of a speech recogniser be, and how narrow the network?",
    Settings(),
    Settings(
        units=("word",), halvings=(1, 2), hidden=(4,), usual_hidden=4, num_train=16, num_dev=2, longest=1, num_steps=1
    ),
    run,
)
