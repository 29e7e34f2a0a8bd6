"""Whether a trained model is worth its cost: its score beside the strongest cheap baseline, with the uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from service.errors import UnrollError
from training.evaluation.analysis.interval import Interval, in_words
from training.evaluation.baselines.result import BaselineResult
from training.evaluation.scoring import LOWER_IS_BETTER

Outcome = Literal["better", "within", "not better", "worse", "unknown"]


class NotPublished(UnrollError):
    """The model does not beat its baseline, and was to be published only if it does."""


@dataclass(frozen=True)
class Verdict:
    """The outcome and a sentence that says it."""

    outcome: Outcome
    sentence: str

    @property
    def beats_baseline(self) -> bool:
        """Whether the score itself is better, be it within the uncertainty."""
        return self.outcome in ("better", "within", "unknown")


def strongest(baselines: Sequence[BaselineResult], measure: str) -> BaselineResult:
    """The baseline with the best value of a measure; the last one where none has it."""
    known = [baseline for baseline in baselines if measure in baseline.measures]
    sign = -1 if measure in LOWER_IS_BETTER else 1
    return max(known, key=lambda baseline: sign * baseline.measures[measure]) if known else baselines[-1]


def judge(measure: str, value: float, interval: Interval | None, baseline: BaselineResult) -> Verdict:
    """Compare a score with that of a baseline."""
    uncertainty = f" ({in_words(interval)})" if interval else ""
    cheap = baseline.measures.get(measure)
    if cheap is None:
        return Verdict("unknown", f"verdict: {measure} {value:.4g}{uncertainty}; there is no baseline to compare with")
    outcome = _outcome(measure, value, interval, cheap)
    sentence = f"{measure} {value:.4g}{uncertainty} against {cheap:.4g} of {baseline.name}"
    return Verdict(outcome, f"verdict: {_WORDS[outcome]}: {sentence}")


_WORDS: Final[dict[Outcome, str]] = {
    "better": "better than the strongest baseline",
    "within": "better than the strongest baseline, but by less than the uncertainty of this dev part",
    "not better": "not better than a cheap baseline",
    "worse": "WORSE than a cheap baseline",
}


def _outcome(measure: str, value: float, interval: Interval | None, cheap: float) -> Outcome:
    low, high = interval or (value, value)
    if measure in LOWER_IS_BETTER:
        value, low, high, cheap = -value, -high, -low, -cheap
    if value > cheap:
        return "better" if low > cheap or interval is None else "within"
    return "worse" if high < cheap or (interval is None and value < cheap) else "not better"
