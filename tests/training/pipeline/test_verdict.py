"""The verdict of a training: the score beside the strongest baseline."""

from __future__ import annotations

import pytest

from training.evaluation.baselines.result import BaselineResult
from training.pipeline.verdict import judge, strongest

MAJORITY, LINEAR = BaselineResult("majority", {"accuracy": 40.0}), BaselineResult("linear", {"accuracy": 74.0})


@pytest.mark.parametrize(
    ("value", "interval", "outcome", "beats"),
    [
        (90.0, (85.0, 95.0), "better", True),
        (76.0, (70.0, 82.0), "within", True),
        (74.0, (70.0, 78.0), "not better", False),
        (70.0, (65.0, 75.0), "not better", False),
        (48.75, (44.0, 53.0), "worse", False),
        (75.0, None, "better", True),
        (73.0, None, "worse", False),
    ],
)
def test_outcomes(value: float, interval: tuple[float, float] | None, outcome: str, beats: bool) -> None:
    """Better, worse, and what the uncertainty leaves open; only a higher score beats the baseline."""
    verdict = judge("accuracy", value, interval, LINEAR)
    assert (verdict.outcome, verdict.beats_baseline) == (outcome, beats)
    assert f"{value:.4g}" in verdict.sentence
    assert "74 of linear" in verdict.sentence


def test_losses_are_better_when_lower() -> None:
    """A lower loss or error is better."""
    ngrams = BaselineResult("n-grams", {"loss": 2.0, "mse": 0.5})
    assert judge("loss", 1.5, None, ngrams).outcome == "better"
    assert judge("mse", 0.6, None, ngrams).outcome == "worse"
    assert strongest([ngrams, BaselineResult("other", {"loss": 1.0})], "loss").name == "other"


def test_the_strongest_baseline_counts() -> None:
    """Not the last one but the best one, and without any value there is nothing to beat."""
    assert strongest([LINEAR, MAJORITY], "accuracy") is LINEAR
    unknown = judge("bleu", 3.0, None, strongest([LINEAR, MAJORITY], "bleu"))
    assert unknown.beats_baseline
    assert "no baseline" in unknown.sentence


def test_error_rates_are_better_when_lower() -> None:
    """A lower error rate beats the baseline, with its interval below it."""
    silence = BaselineResult("always empty text", {"wer": 100.0, "cer": 100.0})
    assert judge("wer", 12.0, (9.0, 15.0), silence).outcome == "better"
    assert judge("cer", 140.0, (120.0, 160.0), silence).outcome == "worse"
    assert strongest([silence, BaselineResult("nearest utterance", {"wer": 60.0})], "wer").name == "nearest utterance"
