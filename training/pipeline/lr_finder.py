"""Learning-rate finder: the range test of Smith 2017 (`unroll find-lr`)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch

from service.errors import UnrollError
from training.fit.distributed import ALONE
from training.fit.environment import torch_settings
from training.fit.gradient import Carried, find_gradient
from training.fit.trainer import build_optimizer
from training.networks.build import build_network
from training.pipeline.run import Prepared
from training.preprocessing.batches import Batch
from training.preprocessing.batching import TrainingSet

#: Decay of the smoothed loss.
SMOOTHING: Final = 0.9
#: The test stops when the smoothed loss reaches this multiple of its minimum.
BLOWN_UP: Final = 4.0
#: Updates at the start that are ignored: the smoothed loss is still that of a few batches.
NUM_UNSETTLED: Final = 10
#: The loss has clearly fallen after this relative gain; the curve ends where this share of the gain is lost again.
CLEAR_GAIN, REBOUND = 0.1, 0.5
#: Fewest points of a curve.
MIN_POINTS: Final = 5


@dataclass(frozen=True)
class Point:
    """One update: its learning rate, and the smoothed loss before it."""

    rate: float
    loss: float


@dataclass(frozen=True)
class RangeTest:
    """The curve of a test, and the learning rates to read from it."""

    points: tuple[Point, ...]

    @property
    def steepest(self) -> float:
        """The rate at which the loss falls fastest."""
        return self._settled()[self._steepest_index()].rate

    @property
    def lowest(self) -> float:
        """The rate with the lowest loss, close to where training diverges."""
        return min(self._settled(), key=lambda point: point.loss).rate

    @property
    def suggestion(self) -> float:
        """The steepest point, but no more than a third of the rate with the lowest loss; two digits."""
        return float(f"{min(self.steepest, self.lowest / 3):.1e}")

    def table(self, num_rows: int = 20) -> str:
        """Rate and loss, evenly spaced over the test."""
        stride = max(1, len(self.points) // num_rows)
        rows = [f"{point.rate:>12.3g}  {point.loss:.4f}" for point in self.points[::stride]]
        return "\n".join([f"{'rate':>12}  loss (smoothed)", *rows])

    def _settled(self) -> tuple[Point, ...]:
        """The points without the start, up to where the loss first loses much of its gain.

        A later fall, however steep, only recovers from a jump.
        """
        points = self.points[NUM_UNSETTLED:] if len(self.points) > 2 * NUM_UNSETTLED else self.points
        start = lowest = points[0].loss
        for index, point in enumerate(points):
            lowest = min(lowest, point.loss)
            gained = start - lowest
            if gained > CLEAR_GAIN * start and point.loss - lowest > REBOUND * gained:
                return points[: max(MIN_POINTS, index)]
        return points

    def _steepest_index(self) -> int:
        """The middle of the five points over which the loss falls most; rates are evenly spaced in the logarithm."""
        losses = [point.loss for point in self._settled()]
        falls = {i: losses[i + 2] - losses[i - 2] for i in range(2, len(losses) - 2)}
        return min(falls, key=lambda i: falls[i]) if falls else len(losses) // 2


def find_rate(
    prepared: Prepared, device: torch.device, lowest: float = 1e-6, highest: float = 10.0, num_steps: int = 150
) -> RangeTest:
    """Train a throw-away network with learning rates that grow geometrically from `lowest` to `highest`.

    Raises:
        UnrollError: the range is empty, or the loss diverges at once.
    """
    if not 0 < lowest < highest:
        raise UnrollError(f"rates grow from --from {lowest:g} to --to {highest:g}: the second must be the larger")
    config = prepared.recipe.training
    network = build_network(prepared.task, prepared.recipe, prepared.vocabulary).to(device).train()
    optimizer = build_optimizer(network, config)
    data = prepared.task.training_set(prepared.recipe, prepared.vocabulary, prepared.data.train)
    growth = (highest / lowest) ** (1 / max(1, num_steps - 1))
    points: list[Point] = []
    average = 0.0
    carried: Carried = ()
    with torch_settings(config.threads, config.deterministic):
        for step, (batch, is_first) in zip(range(num_steps), _endless(data), strict=False):
            rate = lowest * growth**step
            for group in optimizer.param_groups:
                group["lr"] = rate
            gradient = find_gradient(network, batch, () if is_first else carried, config, ALONE)
            if not gradient.is_usable:
                break
            average = SMOOTHING * average + (1 - SMOOTHING) * gradient.loss
            points.append(Point(rate, average / (1 - SMOOTHING ** (step + 1))))
            if points[-1].loss > BLOWN_UP * min(point.loss for point in points):
                break
            optimizer.step()
            carried = gradient.carried
    if len(points) < MIN_POINTS:
        raise UnrollError(
            f"the loss blew up after {len(points)} updates, at a rate of {lowest:g}: start lower with --from"
        )
    return RangeTest(tuple(points))


def _endless(data: TrainingSet) -> Iterator[tuple[Batch, bool]]:
    """Batches of epoch after epoch, with whether each is the first of its epoch."""
    number = 0
    while True:
        for place, order in enumerate(data.epoch(number)):
            yield data.batch(order), place == 0
        number += 1


def draw_range_test(test: RangeTest, picture: Path) -> None:
    """Plot the loss against the learning rate, with the suggestion."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(6, 3.6), layout="constrained")
    axis.plot([point.rate for point in test.points], [point.loss for point in test.points])
    axis.axvline(test.suggestion, linestyle="--", color="tab:red", label=f"suggestion {test.suggestion:g}")
    axis.set_xscale("log")
    ceiling = 1.5 * test.points[0].loss
    axis.set_ylim(top=ceiling if math.isfinite(ceiling) else None)
    axis.set_xlabel("learning rate")
    axis.set_ylabel("training loss, smoothed")
    axis.grid(alpha=0.3)
    axis.legend()
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=100)
    pyplot.close(figure)
