"""CTC (Graves et al. 2006) against the transducer (Graves 2012) over the same encoder, with the same updates."""

from __future__ import annotations

from dataclasses import dataclass

from training.experiments.harness.digits import digit_strings
from training.experiments.harness.fitting import Budget
from training.experiments.harness.outcome import Experiment, Line, Outcome, Panel, Row, Table, Tell
from training.experiments.harness.probe import num_parameters
from training.experiments.harness.speech import Recogniser, service_rates, speech_recipe, train_recogniser


@dataclass(frozen=True)
class Settings:
    """Digits follow each other at random, so that a predictor can learn the spelling of words, and nothing else."""

    units: tuple[str, ...] = ("word", "character")
    hidden: int = 64
    predictor: int = 32
    num_train: int = 600
    num_dev: int = 60
    shortest: int = 1
    longest: int = 3
    num_steps: int = 400
    learning_rate: float = 0.005
    look_every: int = 100


def run(settings: Settings, tell: Tell) -> Outcome:
    """Train a forward recogniser of each unit with both losses, and look at dev now and then."""
    sizes = settings.shortest, settings.longest
    train = [each.utterance for each in digit_strings("train", settings.num_train, *sizes)]
    dev = [each.utterance for each in digit_strings("dev", settings.num_dev, *sizes)]
    rows: list[Row] = []
    curves: list[Line] = []
    for unit in settings.units:
        for decoder in ("ctc", "transducer"):
            looks: list[tuple[int, float]] = []

            def look(step: int, recogniser: Recogniser, seen: list[tuple[int, float]] = looks) -> None:
                if step and step % settings.look_every == 0:
                    seen.append((step, service_rates(recogniser, dev)["wer"]))

            sized = {} if decoder == "ctc" else {"predictor_size": settings.predictor, "joint_size": settings.predictor}
            recipe = speech_recipe(1, unit, hidden_size=settings.hidden, decoder=decoder, **sized)
            trained = train_recogniser(recipe, train, Budget(settings.num_steps, settings.learning_rate), look)
            rates = service_rates(trained, dev)
            looks.append((settings.num_steps, rates["wer"]))
            label = f"{'CTC' if decoder == 'ctc' else 'transducer'}, {unit}s"
            seconds = 1000 * trained.history.cpu_s / settings.num_steps
            rows.append((label, num_parameters(trained.network), rates["wer"], rates["cer"], seconds))
            curves.append(Line(label, [step for step, _ in looks], [wer for _, wer in looks]))
            tell(f"{label}: {looks}")
    columns = {"network": "", "parameters": ",d", "WER, %": ".1f", "CER, %": ".1f", "an update, ms": ".0f"}
    panel = Panel("Word errors over training", "update", "WER, %", curves)
    return Outcome([Table(columns, rows)], [panel])


TRANSDUCERS = Experiment(
    "transducers",
    "Is a transducer better than CTC over the same encoder?",
    Settings(),
    Settings(units=("word",), hidden=4, predictor=4, num_train=16, num_dev=2, longest=1, num_steps=1, look_every=1),
    run,
)
