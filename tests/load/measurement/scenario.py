"""Parts of a scenario: plans (which server to start, and how), cases (what to measure), and the rows of its report."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.load.measurement.ledger import Failed, Ledger, Place, Values
from tests.load.targets.catalogue import Target
from tests.load.targets.server_process import ServerProcess

PINNED, SHARED = "pinned", "shared"
BARE = "bare onnxruntime"


@dataclass(frozen=True)
class Options:
    """Duration and number of measurements."""

    rounds: int = 3
    seconds: float = 5.0
    warm_s: float = 1.5
    #: Attempts at a measurement disturbed by other processes.
    tries: int = 2


@dataclass(frozen=True)
class Subject:
    """Input of a case: the running server (none for bare runs), and earlier measurements."""

    plan: Plan
    options: Options
    results: Results
    process: ServerProcess | None = None


@dataclass(frozen=True)
class Case:
    """One measurement; `measure` returns its figures by name."""

    name: str
    measure: Callable[[Subject], dict[str, Any]]


@dataclass(frozen=True)
class Plan:
    """A target and the cases measured on it. Without a target no server is started: bare runs."""

    target: Target | None
    corpus: str
    cases: tuple[Case, ...]
    setting: str = PINNED
    bare_name: str = BARE

    @property
    def name(self) -> str:
        return self.target.name if self.target else self.bare_name


@dataclass(frozen=True)
class Row:
    """One line of the verdict: a measured figure, its reference, and whether the goal was reached."""

    what: str
    measured: str
    beside: str = ""
    ratio: str = ""
    wanted: str = ""
    reached: bool | None = None


@dataclass(frozen=True)
class Results:
    """View of the ledger for one scenario."""

    ledger: Ledger
    scenario: str

    def cell(self, plan: str, case: str) -> Values | Failed:
        return self.ledger.cell(Place(self.scenario, plan, case))

    def value(self, plan: str, case: str, name: str) -> float | None:
        """Return one median, None if it could not be measured."""
        cell = self.cell(plan, case)
        found = None if isinstance(cell, Failed) else cell.get(name)
        return None if found is None else float(found)

    def of(self, scenario: str) -> Results:
        """Return the view of the same ledger for another scenario."""
        return Results(self.ledger, scenario)


@dataclass(frozen=True)
class Scenario:
    """A question and the measurements that answer it. `show` formats one table cell."""

    name: str
    title: str
    plans: tuple[Plan, ...]
    rows: Callable[[Results], list[Row]]
    show: Callable[[Values], str]
    legend: str


def at_least(what: str, measured: float | None, unit: str, beside: str, limit: float | None, factor: float) -> Row:
    """`measured` should be at least `factor` times `limit`. No verdict if one of the two is missing."""
    return _compared(what, measured, unit, beside, limit, f"≥ {factor:g} ×", lambda ratio: ratio >= factor)


def at_most(what: str, measured: float | None, unit: str, beside: str, limit: float | None, factor: float) -> Row:
    """`measured` should be at most `factor` times `limit`."""
    return _compared(what, measured, unit, beside, limit, f"≤ {factor:g} ×", lambda ratio: ratio <= factor)


def for_comparison(what: str, measured: float | None, unit: str, beside: str, limit: float | None) -> Row:
    """A ratio for comparison, without a goal."""
    return dataclasses.replace(at_least(what, measured, unit, beside, limit, 1.0), wanted="-", reached=None)


def within(what: str, measured: float | None, unit: str, beside: str, bound: float, is_upper: bool = True) -> Row:
    """`measured` should be at most `bound`, or at least `bound` if `is_upper` is false."""
    wanted = f"{'≤' if is_upper else '≥'} {number(bound)} {unit}"
    if measured is None:
        return Row(what, "-", beside, "", wanted)
    reached = measured <= bound if is_upper else measured >= bound
    return Row(what, f"{number(measured)} {unit}", beside, "", wanted, reached)


def _compared(
    what: str,
    measured: float | None,
    unit: str,
    beside: str,
    limit: float | None,
    wanted: str,
    holds: Callable[[float], bool],
) -> Row:
    shown = "-" if measured is None else f"{number(measured)} {unit}"
    if measured is None or not limit:
        return Row(what, shown, f"{beside}: not measured" if not limit else beside, "", wanted)
    ratio = measured / limit
    return Row(what, shown, f"{beside}: {number(limit)} {unit}", f"{ratio:.3f}", wanted, holds(ratio))


def number(value: float) -> str:
    """Format a number with three significant digits: 1,234 · 56.7 · 0.123."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"
