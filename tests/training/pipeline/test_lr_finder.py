"""The learning-rate finder: the suggestion read from a curve, and that the suggested rate trains."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from service.errors import UnrollError
from tests.training.tiny_runs import tiny_recipe
from training.pipeline.lr_finder import Point, RangeTest, draw_range_test, find_rate
from training.pipeline.run import prepare_run

CPU = torch.device("cpu")


def curve(num_points: int = 121) -> RangeTest:
    """A flat loss curve, steepest at a rate of 0.01, lowest around 0.1, then diverging."""
    rates = [10 ** (-6 + 6 * i / (num_points - 1)) for i in range(num_points)]

    def loss(rate: float) -> float:
        fall = 1 / (1 + math.exp(-4 * (math.log10(rate) + 2)))
        return 3 - 2 * fall + (rate / 0.3) ** 3

    return RangeTest(tuple(Point(rate, loss(rate)) for rate in rates))


def test_the_suggestion_is_where_the_loss_falls_fastest() -> None:
    """On a synthetic curve, the suggestion is the rate of the steepest descent."""
    test = curve()
    assert test.steepest == pytest.approx(0.01, rel=0.3)
    assert 0.03 < test.lowest < 0.2
    assert test.suggestion == pytest.approx(test.steepest, rel=0.05)


def test_the_suggestion_keeps_away_from_the_edge() -> None:
    """If the loss falls until just before divergence, a third of the lowest point's rate is suggested."""
    points = tuple(Point(10 ** (-4 + i / 10), 3 - max(0, i - 20) ** 2 / 100) for i in range(40))
    test = RangeTest(points)
    assert test.steepest > test.lowest / 3
    assert test.suggestion == pytest.approx(test.lowest / 3, rel=0.05)


def test_a_fall_after_a_jump_is_no_fall() -> None:
    """The curve is read only up to a jump of the loss."""
    calm = curve()
    jump = next(i for i, point in enumerate(calm.points) if point.rate > 0.03)
    jumps = [Point(point.rate, 4.0 - 0.3 * i) for i, point in enumerate(calm.points[jump : jump + 9])]
    test = RangeTest((*calm.points[:jump], *jumps, *calm.points[jump + 9 :]))
    assert test.steepest == pytest.approx(calm.steepest, rel=0.05)
    assert test.lowest < 0.03


def test_rates_grow_by_a_factor_until_the_loss_breaks(tmp_path: Path) -> None:
    """Rates start at `lowest` and grow by a constant factor, and the test may end early."""
    prepared = prepare_run(tiny_recipe("classification", tmp_path, optimizer="sgd"))
    test = find_rate(prepared, CPU, 1e-3, 1e6, num_steps=60)
    rates = [point.rate for point in test.points]
    assert rates[0] == pytest.approx(1e-3)
    assert all(b / a == pytest.approx(1e9 ** (1 / 59)) for a, b in pairwise(rates))
    assert len(rates) < 60
    assert test.points[0].rate < test.suggestion < test.points[-1].rate


def test_the_suggested_rate_trains(tmp_path: Path) -> None:
    """The loss at the suggested rate is below the initial one."""
    test = find_rate(prepare_run(tiny_recipe("tagging", tmp_path)), CPU, 1e-5, 10, num_steps=80)
    assert min(point.loss for point in test.points) < 0.8 * test.points[0].loss
    assert 1e-4 < test.suggestion < 5


def test_a_range_that_cannot_be_is_refused(tmp_path: Path) -> None:
    """Empty ranges, and ranges that start beyond all bounds, are refused."""
    prepared = prepare_run(tiny_recipe("generation", tmp_path, optimizer="sgd", clip_norm=1e9))
    with pytest.raises(UnrollError, match="the second must be the larger"):
        find_rate(prepared, CPU, 1.0, 1.0)
    with pytest.raises(UnrollError, match="start lower with --from"):
        find_rate(prepared, CPU, 1e20, 1e30)


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    """The plot is a PNG of more than one colour, in a folder that is created for it."""
    from matplotlib import image

    draw_range_test(curve(), tmp_path / "new" / "rates.png")
    assert image.imread(tmp_path / "new" / "rates.png").std() > 0.05
