"""The schedule of a run that begins with a published model."""

from __future__ import annotations

import pytest

from training.config.recipe import TrainingConfig
from training.pipeline.fine_tuning.derived import MAX_EPOCHS, MIN_EPOCHS, gentle


@pytest.mark.parametrize("num_rows", [1, 30, 200, 5_000, 1_000_000])
def test_a_run_does_not_stop_before_new_labels_can_win(num_rows: int) -> None:
    """New labels begin below all others and may score nothing for many epochs, so every epoch is trained."""
    found = gentle(TrainingConfig(patience=3), num_rows)
    assert MIN_EPOCHS <= found["epochs"] <= MAX_EPOCHS
    assert found["patience"] >= found["epochs"]


def test_averages_that_begin_after_a_plateau_may_begin() -> None:
    """With ASGD, patience stays above the epochs without improvement after which averaging begins."""
    theirs = TrainingConfig(average="asgd", average_patience=50, patience=60)
    assert gentle(theirs, 200)["patience"] > 50
