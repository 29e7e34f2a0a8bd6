"""The report of a comparison: the largest difference of each check, and a sentence on each that is too large.

Differences are absolute up to a magnitude of 1 and relative above: `abs(a - b) / max(1, abs(a))`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from service.bundle.manifest import Parity
from service.tasks.core.task import Array

#: Float32 sums in another order differ by about 1e-6, a wrong gate or an unmasked step by at least 1e-2.
TOLERANCE = 1e-4


@dataclass
class ParityReport:
    """The result of a verification. `checks` has the largest difference of each check."""

    path: Path
    tolerance: float = TOLERANCE
    checks: dict[str, float] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return not self.failures

    @property
    def max_difference(self) -> float:
        return max(self.checks.values(), default=0.0)

    def parity(self) -> Parity:
        """The result as recorded in the manifest."""
        return Parity(max_difference=self.max_difference, tolerance=self.tolerance, checks=dict(self.checks))

    def summary(self) -> str:
        """A readable summary: each check with its largest difference, then the failures."""
        lines = [f"{name:<10} largest difference {value:.1e}" for name, value in self.checks.items()]
        verdict = "passed" if self.passed else f"FAILED in {len(self.failures)} places"
        return "\n".join([f"{self.path}: {verdict} (tolerance {self.tolerance:g})", *lines, *self.failures])

    def compare(self, check: str, where: str, expected: Array, actual: Array) -> None:
        """Record the difference of two arrays under `check`, and a failure if it exceeds the tolerance."""
        if expected.shape != actual.shape:
            self.fail(check, f"{where}: expected shape {list(expected.shape)}, found {list(actual.shape)}")
            return
        difference, place = largest_difference(expected, actual)
        self.note(check, difference)
        if not difference <= self.tolerance:
            values = f"expected {float(expected[place]):.6g}, found {float(actual[place]):.6g}"
            at = [int(index) for index in place]
            self.fail(check, f"{where}{at}: {values} (difference {difference:.1e})")

    def note(self, check: str, difference: float) -> None:
        """Record a difference if it is the largest of its check."""
        self.checks[check] = max(self.checks.get(check, 0.0), difference)

    def fail(self, check: str, what: str) -> None:
        """Record a failure; `what` names graph, tensor, expected and found."""
        self.note(check, 0.0)
        self.failures.append(f"{check}: {what}")


def largest_difference(expected: Array, actual: Array) -> tuple[float, tuple[int, ...]]:
    """The largest relative difference and where it is. Values that are not finite count as an infinite difference."""
    with np.errstate(invalid="ignore"):
        scaled = np.abs(expected.astype(np.float64) - actual) / np.maximum(1.0, np.abs(expected))
    scaled = np.where(np.isfinite(scaled), scaled, np.inf)
    place = np.unravel_index(int(scaled.argmax()), scaled.shape)
    return float(scaled[place]), tuple(int(index) for index in place)
