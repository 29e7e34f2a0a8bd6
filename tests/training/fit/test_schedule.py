"""Learning rates and averaged weights as functions of the step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from training.config.recipe import TrainingConfig
from training.fit.schedule import learning_rate, share_kept, start_averages, update_averages

STEPS = 100


def rates(steps: int = STEPS, plateau_factor: float = 1.0, **values: Any) -> list[float]:
    config = TrainingConfig(**{"learning_rate": 0.5, "final_rate": 0.1, **values})
    return [learning_rate(config, step, STEPS, plateau_factor) for step in range(steps)]


def test_constant_stays() -> None:
    """The same rate at every step."""
    assert set(rates(schedule="constant")) == {0.5}


def test_linear_falls_by_equal_amounts_to_its_last_rate() -> None:
    """From the full rate to `final_rate` of it, in a straight line."""
    found = rates(STEPS + 1, schedule="linear")
    assert found[0] == 0.5
    assert found[STEPS // 2] == pytest.approx(0.275)
    assert found[STEPS] == pytest.approx(0.05)


def test_cosine_falls_slowly_at_both_ends() -> None:
    """Half way it is half way, and near the ends it is flatter than the straight line."""
    found = rates(STEPS + 1, schedule="cosine")
    assert (found[0], found[STEPS]) == (0.5, pytest.approx(0.05))
    assert found[STEPS // 2] == pytest.approx(0.275)
    assert found == sorted(found, reverse=True)
    assert found[0] - found[1] < 0.2 * (found[50] - found[51])


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("final_rate", [0.0, 0.1])
def test_no_rate_lies_below_the_last_one(schedule: str, final_rate: float) -> None:
    """Steps beyond the expected end go on at the last rate: a rate is never negative."""
    beyond = rates(STEPS + 20, schedule=schedule, final_rate=final_rate)[STEPS:]
    assert beyond == pytest.approx([0.5 * final_rate] * 20)


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine", "plateau"])
def test_warm_up_rises_in_equal_steps(schedule: str) -> None:
    """The first update has the first part of the rate, and the schedule begins where warm-up ends."""
    found = rates(schedule=schedule, warmup_steps=10)
    assert found[:10] == pytest.approx([0.05 * number for number in range(1, 11)])
    assert found[10] == 0.5


def test_plateau_takes_its_factor_from_the_run() -> None:
    """The schedule itself is flat; the factor that lack of gain has left is multiplied in."""
    assert set(rates(schedule="plateau", plateau_factor=0.25)) == {0.125}


def test_moving_averages_follow_the_formula() -> None:
    """average = d * average + (1 - d) * weight with d = min(decay, (1 + step) / (10 + step))."""
    network = nn.Linear(2, 1, bias=False)
    config = TrainingConfig(ema_decay=0.9)
    averages = start_averages(network, config)
    expected = network.weight.detach().clone()
    for step in (0, 1, 5, 1000):
        with torch.no_grad():
            network.weight.add_(1.0)
        update_averages(averages, network, share_kept(config, step, STEPS))
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * network.weight.detach()
        torch.testing.assert_close(averages["weight"], expected)


def test_stochastic_weight_averages_are_plain_means() -> None:
    """`swa` follows the weights for its first part of the run, and is from then on the mean of all that came."""
    network = nn.Linear(2, 1, bias=False)
    config = TrainingConfig(average="swa", average_from=0.75)
    averages = start_averages(network, config)
    seen = []
    for step in range(20):
        with torch.no_grad():
            network.weight.normal_()
        update_averages(averages, network, share_kept(config, step, 20))
        seen.append(network.weight.detach().clone())
        expected = seen[-1] if step < 15 else torch.stack(seen[15:]).mean(0)
        torch.testing.assert_close(averages["weight"], expected)


def test_averages_are_copies() -> None:
    """Changing the network afterwards does not change them, and without decay there are none."""
    network = nn.Linear(2, 1)
    averages = start_averages(network, TrainingConfig(ema_decay=0.9))
    before = averages["weight"].clone()
    with torch.no_grad():
        network.weight.add_(1.0)
    assert torch.equal(averages["weight"], before)
    assert start_averages(network, TrainingConfig()) == {}
