"""The segment network: its inputs, its loss, and its equivalence to the exported graph."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from service.bundle.load import load_bundle
from service.inference.runtime.ort_runner import OrtRunner
from tests.training.exportable import CELLS
from tests.training.tiny_series import CHANNELS, SCALE, forecaster, publish_forecaster, wave
from training.networks.forecaster import Forecaster
from training.preprocessing.batches import ForecastingBatch
from training.publish.verify import verify_bundle

QUANTILES = (0.1, 0.5, 0.8, 0.9)


def windows(number: int = 3) -> Tensor:
    """Windows `[number, 12, 3]` at different phases of the wave."""
    return torch.tensor(np.stack([wave(12, first=5 * n) for n in range(number)]), dtype=torch.float32)


@torch.no_grad()
def forecast(network: Forecaster, frames: Tensor) -> Tensor:
    return network.forecast(frames)[0]


@pytest.mark.parametrize("cell", CELLS)
def test_a_higher_level_is_forecast_as_much_higher(cell: str) -> None:
    """An offset of 50 in the past raises the forecast by 50, as the last value is subtracted first."""
    network = forecaster(cell=cell)
    assert torch.allclose(forecast(network, windows() + 50), forecast(network, windows()) + 50, atol=1e-3)


def test_an_independent_target_does_not_see_other_channels() -> None:
    """Noise in another channel changes the forecast with joint mixing only."""
    noisy = windows()
    noisy[:, :, CHANNELS.index("heat")] += 30 * torch.randn(3, 12, generator=torch.Generator().manual_seed(1))
    for mixing, is_blind in (("independent", True), ("joint", False)):
        network = forecaster(mixing=mixing)
        assert torch.equal(forecast(network, noisy), forecast(network, windows())) == is_blind


def test_every_step_and_target_is_forecast_by_itself() -> None:
    """The horizon is cut from whole segments, and all steps and targets have distinct values."""
    values = forecast(forecaster(), windows())
    assert values.shape == (3, 5, 2)
    assert values.unique().numel() == values.numel()


def test_quantiles_never_cross() -> None:
    """Quantiles are increasing at every step for any weights, and the forecast is the median."""
    network = forecaster(quantiles=QUANTILES)
    with torch.no_grad():
        median, quantiles = network.forecast(windows())
    assert quantiles is not None
    assert bool((quantiles.diff(dim=3) > 0).all())
    assert torch.equal(median, quantiles[..., 1])


def test_nothing_is_forecast_below_the_minimum() -> None:
    low = windows() - 1013
    assert forecast(forecaster(), low).min() < 0
    assert forecast(forecaster(minimum=0), low).min() >= 0


def test_what_was_not_measured_is_not_counted() -> None:
    """Gaps in the future are excluded from the mean loss; a future of gaps only has zero loss and gradient."""
    network, frames = forecaster(), windows()
    future = forecast(network, frames) + torch.tensor(SCALE.target_deviations)
    assert network.loss(ForecastingBatch(frames, future))[0].item() == pytest.approx(1.0, abs=1e-4)
    future[0, 1:] = torch.nan
    assert network.loss(ForecastingBatch(frames, future))[0].item() == pytest.approx(1.0, abs=1e-4)
    loss, _ = network.loss(ForecastingBatch(frames, torch.full_like(future, torch.nan)))
    loss.backward()
    assert loss.item() == 0
    assert all(bool(p.grad.isfinite().all()) for p in network.parameters() if p.grad is not None)


def test_the_error_of_quantiles_is_the_pinball_loss() -> None:
    """Computed by hand, a forecast below the truth costs `q` and one above it `1 - q` per unit of deviation."""
    network, frames = forecaster(quantiles=(0.1, 0.5)), windows(1)
    with torch.no_grad():
        _, quantiles = network.forecast(frames)
        assert quantiles is not None
        deviation = torch.tensor(SCALE.target_deviations)
        future = quantiles[..., 1] + 2 * deviation
        gap = (quantiles[..., 1] - quantiles[..., 0]) / deviation
        expected = (0.5 * 2 + 0.1 * (2 + gap)).mean() / 2
        assert network.loss(ForecastingBatch(frames, future))[0].item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize(
    ("cell", "mixing", "quantiles", "minimum"),
    [
        (*pair, QUANTILES if n % 2 else (), 0.0 if n % 3 == 0 else None)
        for n, pair in enumerate(itertools.product(CELLS, ("independent", "joint")))
    ],
)
def test_the_graph_is_the_network(
    cell: str, mixing: str, quantiles: tuple[float, ...], minimum: float | None, tmp_path: Path
) -> None:
    """For every cell and mixing and for 1, 2 and 7 windows of real size, onnxruntime equals torch."""
    network = forecaster(cell=cell, mixing=mixing, quantiles=quantiles, minimum=minimum)
    path = publish_forecaster(network, tmp_path)
    report = verify_bundle(path, network)
    assert report.passed, report.summary()
    assert {"shapes", "torch", "padding", "examples"} <= report.checks.keys()
    assert report.max_difference < 2e-5
    stored = OrtRunner(load_bundle(path), "cpu")
    for number in (1, 2, 7):
        feeds = {"frames": windows(number).numpy()}
        found = stored.run("forecaster", feeds)
        assert found.keys() == ({"forecast", "quantiles"} if quantiles else {"forecast"})
        assert found["forecast"].shape == (number, 5, 2)
