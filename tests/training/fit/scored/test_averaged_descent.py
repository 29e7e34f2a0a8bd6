"""`asgd`: plain SGD until the dev score stops improving, then averaging of all weights (Merity et al. 2018)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.training.fit.test_trainer import (
    assert_same_run,
    make_trainer,
    terminate,
    without_time,
)
from tests.training.tiny_runs import tiny_recipe
from training.config.recipe import ConfigFault, Recipe, TrainingConfig
from training.fit.schedule import copied_weights, has_stopped_gaining, share_kept
from training.fit.trainer import DevScore, Interrupted
from training.networks.network import Network

ASGD = TrainingConfig(average="asgd")
#: Updates per epoch of the tiny run.
BATCHES = 15


@pytest.fixture(autouse=True)
def _own_random_numbers() -> Iterator[None]:
    """Restore the random state, as runs seed torch."""
    state = torch.get_rng_state()
    yield
    torch.set_rng_state(state)


def descent(path: Path, **changes: object) -> Recipe:
    values = {"optimizer": "sgd", "momentum": 0.0, "learning_rate": 0.5, "schedule": "constant", "average": "asgd"}
    return tiny_recipe("generation", path / "data", **{**values, "epochs": 6, "patience": 9, **changes})


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([1.0], False),
        ([1.0, 2.0, 1.5], False),
        ([3.0, 2.0, 2.9], True),
        ([3.0, 2.0, 3.0], False),
        ([1.0, 2.0, 3.0, 2.5], False),
        ([1.0, 3.0, 2.0, 2.5, 2.9], True),
    ],
)
def test_the_trigger_compares_with_what_is_longer_ago(scores: list[float], expected: bool) -> None:
    """With a patience of 1, the last score is compared with the best of all scores but the one before it."""
    assert has_stopped_gaining(scores, 1) is expected


def test_a_patience_of_none_compares_with_all_before() -> None:
    assert has_stopped_gaining([2.0, 1.9], 0)
    assert not has_stopped_gaining([2.0, 2.0], 0)


def test_from_its_start_on_every_update_counts_alike() -> None:
    """The first update after the start replaces the average, and the n-th has a share of 1 / n."""
    assert [share_kept(ASGD, step, 100, averaging_from=40) for step in (40, 41, 43)] == [0, 1 / 2, 3 / 4]


def test_dev_decides_when_averages_begin(tmp_path: Path) -> None:
    """Dev is scored with the network's own weights until its score first falls, then with their running mean."""
    values = iter([2.0, 3.0, 1.0, 1.0, 1.0, 1.0])
    seen: list[dict[str, torch.Tensor]] = []

    def score(network: Network) -> DevScore:
        seen.append(copied_weights(network))
        return DevScore(next(values))

    trainer = make_trainer(descent(tmp_path, average_patience=1, epochs=4), tmp_path / "run", score)
    steps: list[dict[str, torch.Tensor]] = []
    inner = trainer.state.optimizer.step

    def step() -> None:
        inner()
        steps.append(copied_weights(trainer.state.network))

    trainer.state.optimizer.step = step  # type: ignore[assignment]
    progress = trainer.fit()
    assert progress.averaging_from == 3 * BATCHES
    assert all(torch.equal(seen[2][name], value) for name, value in steps[3 * BATCHES - 1].items())
    for name, value in seen[3].items():
        torch.testing.assert_close(value, torch.stack([weights[name] for weights in steps[3 * BATCHES :]]).mean(0))


def test_averages_get_the_patience_that_was_used_up(tmp_path: Path) -> None:
    """A run about to stop early continues for `patience` epochs with averaged weights."""
    recipe = descent(tmp_path, average_patience=2, patience=3, epochs=20)
    falling = itertools.count(0, -1)
    progress = make_trainer(recipe, tmp_path / "run", lambda _: DevScore(float(next(falling)))).fit()
    assert progress.averaging_from == 4 * BATCHES
    assert (progress.epoch, progress.best_epoch) == (7, 1)


def small_weights(network: Network) -> DevScore:
    """A score that falls from epoch to epoch and depends only on the scored weights."""
    return DevScore(-sum(float(parameter.detach().square().sum()) for parameter in network.parameters()))


@pytest.mark.parametrize("stop_at", [BATCHES + 5, 2 * BATCHES + 4, 4 * BATCHES])
def test_resuming_is_never_having_stopped(stop_at: int, tmp_path: Path) -> None:
    """Resuming before or after averaging starts gives bit-identical weights, averages and logged numbers."""
    recipe = descent(tmp_path, average_patience=0)
    with pytest.raises(Interrupted):
        make_trainer(recipe, tmp_path / "stopped", small_weights, at=stop_at, then=terminate).fit()
    torch.manual_seed(99)
    resumed = make_trainer(recipe, tmp_path / "stopped", small_weights).fit()
    straight = make_trainer(recipe, tmp_path / "straight", small_weights).fit()
    assert straight.averaging_from == 2 * BATCHES
    assert without_time(resumed) == without_time(straight)
    assert_same_run(tmp_path / "straight", tmp_path / "stopped")


def test_patience_must_leave_time_for_averages(tmp_path: Path) -> None:
    """A patience that would stop the run before averaging starts is refused when the recipe is read."""
    with pytest.raises(ConfigFault, match=r"patience \(3\) must be more than average_patience \(3\)"):
        descent(tmp_path, average_patience=3, patience=3)
