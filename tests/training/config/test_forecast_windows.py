"""Windows of a forecaster from the step and the length of a series."""

from __future__ import annotations

import pytest

from service.errors import UnrollError
from service.tasks.inputs.time_steps import step_of_text
from training.config.forecast_windows import MIN_ROWS, Window, window_of
from training.config.networks import ForecasterConfig
from training.data.split import DEV_FRACTION

STEPS = [
    "1s",
    "1min",
    "5min",
    "15min",
    "30min",
    "1h",
    "3h",
    "6h",
    "1d",
    "2d",
    "workday",
    "1w",
    "2w",
    "1mo",
    "1q",
    "1y",
    "2",
    "",
]


@pytest.mark.parametrize(
    ("step", "window"),
    [
        ("1h", Window(168, 24, 24, 24)),
        ("15min", Window(288, 96, 24, 96)),
        ("1d", Window(56, 14, 7, 7)),
        ("workday", Window(60, 10, 5, 5)),
        ("1w", Window(104, 8, 4, 52)),
        ("1mo", Window(36, 12, 12, 12)),
        ("1q", Window(16, 4, 4, 4)),
        ("", Window(168, 24, 24, 24)),
    ],
)
def test_the_season_follows_from_the_step(step: str, window: Window) -> None:
    assert window_of(step_of_text(step), 5000) == window


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("num_rows", [MIN_ROWS, 13, 24, 60, 144, 365, 100_000])
def test_a_short_series_can_be_trained_on(step: str, num_rows: int) -> None:
    """At each length, windows start at several rows of train, and dev holds a whole forecast."""
    window = window_of(step_of_text(step), num_rows)
    num_dev = max(1, round(num_rows * DEV_FRACTION))
    assert window.horizon <= num_dev
    assert num_rows - num_dev - window.look_back - window.horizon + 1 > 2
    ForecasterConfig.model_validate(window._asdict())


def test_too_few_rows_are_refused_with_the_number_that_is_needed() -> None:
    with pytest.raises(UnrollError, match="9 rows is too short to learn from: at least 10"):
        window_of(None, 9)
