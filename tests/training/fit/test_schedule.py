"""Learning rates and averaged weights as functions of the step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from tests.training.exportable import classifier, language_model, tagger, translator
from tests.training.trees.tiny_parsers import parser
from training.config.recipe import TrainingConfig
from training.fit.schedule import (
    layer_share,
    layers_from_the_top,
    learning_rate,
    share_kept,
    start_averages,
    update_averages,
)
from training.networks.network import Network

STEPS = 100


def rates(steps: int = STEPS, plateau_factor: float = 1.0, **values: Any) -> list[float]:
    config = TrainingConfig(**{"learning_rate": 0.5, "final_rate": 0.1, **values})
    return [learning_rate(config, step, STEPS, plateau_factor) for step in range(steps)]


def test_constant_stays() -> None:
    """The constant schedule has the same rate at every step."""
    assert set(rates(schedule="constant")) == {0.5}


def test_linear_falls_by_equal_amounts_to_its_last_rate() -> None:
    """The linear schedule falls in a straight line from the full rate to `final_rate` of it."""
    found = rates(STEPS + 1, schedule="linear")
    assert found[0] == 0.5
    assert found[STEPS // 2] == pytest.approx(0.275)
    assert found[STEPS] == pytest.approx(0.05)


def test_cosine_falls_slowly_at_both_ends() -> None:
    """The cosine schedule is at half the range half-way, and flatter than the straight line near both ends."""
    found = rates(STEPS + 1, schedule="cosine")
    assert (found[0], found[STEPS]) == (0.5, pytest.approx(0.05))
    assert found[STEPS // 2] == pytest.approx(0.275)
    assert found == sorted(found, reverse=True)
    assert found[0] - found[1] < 0.2 * (found[50] - found[51])


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("final_rate", [0.0, 0.1])
def test_no_rate_lies_below_the_last_one(schedule: str, final_rate: float) -> None:
    """Steps beyond the expected end keep the final rate, which is never negative."""
    beyond = rates(STEPS + 20, schedule=schedule, final_rate=final_rate)[STEPS:]
    assert beyond == pytest.approx([0.5 * final_rate] * 20)


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine", "plateau"])
def test_warm_up_rises_in_equal_steps(schedule: str) -> None:
    """Warm-up is linear from the first update, and the schedule begins where warm-up ends."""
    found = rates(schedule=schedule, warmup_steps=10)
    assert found[:10] == pytest.approx([0.05 * number for number in range(1, 11)])
    assert found[10] == 0.5


def test_plateau_takes_its_factor_from_the_run() -> None:
    """The plateau schedule is constant, multiplied by the factor accumulated by the run."""
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
    """`swa` follows the weights for the first part of the run, then is the mean of all later ones."""
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
    """Changing the network afterwards does not change its averages, and without decay there are none."""
    network = nn.Linear(2, 1)
    averages = start_averages(network, TrainingConfig(ema_decay=0.9))
    before = averages["weight"].clone()
    with torch.no_grad():
        network.weight.add_(1.0)
    assert torch.equal(averages["weight"], before)
    assert start_averages(network, TrainingConfig()) == {}


@pytest.mark.parametrize("make", [tagger, classifier, translator, language_model, parser])
def test_groups_of_layers_hold_every_weight_once(make: Callable[[], Network]) -> None:
    """The output layers are the first group, then recurrent layers from the top, then what they read."""
    network = make()
    groups = layers_from_the_top(network)
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    found = [names[id(parameter)] for group in groups for parameter in group]
    assert sorted(found) == sorted(names.values())
    assert len(groups) >= 3
    assert any("embedding" in names[id(parameter)] for parameter in groups[-1])


def test_layers_below_learn_slower_and_later() -> None:
    """The share falls with the depth; with gradual unfreezing it is zero until the layer's epoch."""
    at_once, gradual = TrainingConfig(layer_decay=0.5), TrainingConfig(layer_decay=0.5, unfreeze="gradual")
    assert [layer_share(at_once, depth, 0) for depth in range(3)] == [1.0, 0.5, 0.25]
    assert [layer_share(gradual, depth, 1) for depth in range(3)] == [1.0, 0.5, 0.0]
