"""Connectionist temporal classification (Graves et al. 2006): blanks first, then spikes, and where the spikes are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from service.tasks.transcription.decoder import BLANK, Token
from training.experiments.harness.digits import DigitString, digit_strings
from training.experiments.harness.fitting import Budget
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

#: What a token is, and whether the network reads both ways.
NETWORKS: Final[dict[str, tuple[str, bool]]] = {
    "words, forward": ("word", False),
    "words, both": ("word", True),
    "characters, forward": ("character", False),
}
_PHASES: Final = {
    "network": "",
    "silent until update": "d",
    "half of the words at updates": "",
    "blank at the end, %": ".1f",
    "WER, %": ".2f",
    "seconds": ".0f",
}
_PLACES: Final = {
    "network": "",
    "digits": "d",
    "spike within its digit, %": ".1f",
    "before it, %": ".1f",
    "after it, %": ".1f",
    "from its start, ms": ".0f",
    "from its end, ms": ".0f",
    "steps of a spike": ".2f",
}


@dataclass(frozen=True)
class Settings:
    """Tokens are words or characters. Dev is looked at before the updates `looks` and at the end."""

    hidden: int = 64
    num_train: int = 600
    num_dev: int = 60
    shortest: int = 3
    longest: int = 5
    num_steps: int = 500
    learning_rate: float = 0.004
    looks: tuple[int, ...] = (0, 10, 20, 40, 80, 120, 160, 200, 250, 300, 350, 400, 450)


@dataclass(frozen=True)
class _Look:
    """At an update: steps of the best path that are blank, tokens written of those said, and word errors, in %."""

    step: int
    blank: float
    written: float
    wer: float


@dataclass(frozen=True)
class _Spikes:
    """Of digits of strings that were read without an error.

    Attributes:
        count: how many digits.
        inside: shares of spikes within the digit, before it, and after its end, in percent.
        from_start_ms: from the beginning of the digit to its spike; `after_end_ms` from its end on.
        width: steps of a spike.
    """

    count: int
    inside: tuple[float, float, float]
    from_start_ms: float
    after_end_ms: float
    width: float

    @property
    def cells(self) -> Row:
        """The row of a table."""
        return self.count, *self.inside, self.from_start_ms, self.after_end_ms, self.width


def _look(step: int, recogniser: Recogniser, dev: Sequence[DigitString]) -> _Look:
    utterances = [each.utterance for each in dev]
    rows = outputs_of(recogniser, utterances)
    heard = decoded(greedy_decoder(recogniser), recogniser.network, rows)
    tokenizer = recogniser.vocabulary.tokenizers["text"]
    said = sum(len(tokenizer.encode(each.text)) for each in utterances)
    blank = np.concatenate([row.argmax(axis=1) == BLANK for row in rows]).mean()
    written = sum(map(len, heard))
    return _Look(step, 100 * float(blank), 100 * written / said, rates(recogniser, utterances, heard)["wer"])


def spikes_of(row: Rows, heard: Sequence[Token], step_s: float) -> list[tuple[float, int]]:
    """The moment of each token of the best path in seconds, the middle of its first step, and its steps."""
    ids = row.argmax(axis=1)
    ends = [token.step for token in heard[1:]] + [len(row)]
    return [
        ((token.step + 0.5) * step_s, int((ids[token.step : end] == token.token_id).sum()))
        for token, end in zip(heard, ends, strict=True)
    ]


def _spikes(recogniser: Recogniser, dev: Sequence[DigitString]) -> _Spikes:
    """Of words: a spike is a digit. Strings with an error are left out."""
    tokenizer = recogniser.vocabulary.tokenizers["text"]
    found: list[tuple[float, float, float, int]] = []
    rows = outputs_of(recogniser, [each.utterance for each in dev])
    paths = decoded(greedy_decoder(recogniser), recogniser.network, rows)
    for each, row, heard in zip(dev, rows, paths, strict=True):
        if [token.token_id for token in heard] == tokenizer.encode(each.utterance.text):
            spikes = spikes_of(row, heard, recogniser.step_s)
            found += [(*place, *spike) for place, spike in zip(each.places, spikes, strict=True)]
    if not found:
        return _Spikes(0, (np.nan, np.nan, np.nan), np.nan, np.nan, np.nan)
    starts, ends, moments, widths = np.array(found).T
    shares = [float(100 * part.mean()) for part in (moments < starts, (starts <= moments) & (moments <= ends))]
    inside = (shares[1], shares[0], 100 - sum(shares))
    from_start_ms, after_end_ms = (float(1000 * np.median(moments - edge)) for edge in (starts, ends))
    return _Spikes(len(found), inside, from_start_ms, after_end_ms, float(widths.mean()))


def run(settings: Settings, tell: Tell) -> Outcome:
    """Train a forward and a bidirectional recogniser of words, and a forward one of characters."""
    sizes = settings.shortest, settings.longest
    train = [each.utterance for each in digit_strings("train", settings.num_train, *sizes)]
    dev = digit_strings("dev", settings.num_dev, *sizes)
    phases: list[Row] = []
    places: list[Row] = []
    blanks: list[Line] = []
    for label, (unit, bidirectional) in NETWORKS.items():
        looks: list[_Look] = []

        def look(step: int, recogniser: Recogniser, seen: list[_Look] = looks) -> None:
            if step in settings.looks:
                seen.append(_look(step, recogniser, dev))

        recipe = speech_recipe(1, unit, hidden_size=settings.hidden, bidirectional=bidirectional)
        trained = train_recogniser(recipe, train, Budget(settings.num_steps, settings.learning_rate), look)
        looks.append(_look(settings.num_steps, trained, dev))
        phases.append(_phases(label, looks, trained))
        blanks.append(Line(label, [each.step for each in looks], [each.blank for each in looks]))
        tell(f"{label}: {[(each.step, round(each.blank), round(each.written), round(each.wer)) for each in looks]}")
        if unit == "word":
            spikes = _spikes(trained, dev)
            places.append(
                (label, spikes.count, *spikes.inside, spikes.from_start_ms, spikes.after_end_ms, spikes.width)
            )
    tables = [Table(_PHASES, phases, "How the tokens come"), Table(_PLACES, places, "Where the spikes are")]
    panel = Panel("Blanks on the best path", "update", "steps, %", blanks, y_limits=(0, 105))
    return Outcome(tables, [panel])


def _phases(label: str, looks: Sequence[_Look], trained: Recogniser) -> Row:
    """The last look in a row from the first on at which next to nothing was written, and when half was right."""
    silent = [each.step for each in looks if each.step and each.written < 1]
    half = next((after.step for before, after in pairwise(looks) if before.wer >= 50 > after.wer), None)
    first = next((each.step for each in looks if each.step > max(silent, default=0) and each.written >= 1), None)
    words = f"{first} to {half}" if half is not None else "not reached"
    return label, max(silent, default=0), words, looks[-1].blank, looks[-1].wer, trained.history.cpu_s


SPIKES = Experiment(
    "spikes",
    "Does CTC align a transcript with its sound?",
    Settings(),
    Settings(hidden=4, num_train=16, num_dev=2, shortest=1, longest=2, num_steps=2, looks=(0,)),
    run,
)
