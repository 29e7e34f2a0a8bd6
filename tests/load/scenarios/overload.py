"""Load shedding: goodput above capacity, the latency of refusals, and their Retry-After."""

from __future__ import annotations

from typing import Any

from tests.load.measurement.ledger import Failed, Values
from tests.load.measurement.measure import closed_loop, load
from tests.load.measurement.scenario import Case, Plan, Results, Row, Scenario, Subject, at_least, within
from tests.load.measurement.scenario import number as shown
from tests.load.scenarios.tagger import BUSY, faults, show_rate
from tests.load.targets.catalogue import NAIVE, service

FACTORS = (2, 5, 10)
#: A client that sends later than this has no free connections, and delays all further requests.
_LATE_MS = 50


def _overload(factor: int) -> Case:
    def measure(subject: Subject) -> dict[str, Any]:
        capacity = subject.results.cell(subject.plan.name, BUSY)
        if isinstance(capacity, Failed):
            raise RuntimeError(f"the capacity is not known: {capacity.reason}")
        return load(subject, rate=factor * capacity["rate"])

    return Case(f"{factor} ×", measure)


def _show(values: Values) -> str:
    """Goodput, and the refusals with their latencies."""
    if "goodput" not in values:
        return show_rate(values)
    late_ms = values.get("late_max_ms") or 0.0
    parts = [
        f"{shown(values['goodput'])}/s good",
        *([_refusals(values)] if values.get("refused") else []),
        *([f"the client was up to {shown(late_ms)} ms late"] if late_ms > _LATE_MS else []),
    ]
    return " · ".join(parts) + faults(values)


def _refusals(values: Values) -> str:
    times = f"{shown(values['refused_p50_ms'])} / {shown(values['refused_p99_ms'])} ms"
    return f"{shown(values['refused'])} refused in {times}, {_hints(values)}"


def _hints(values: Values) -> str:
    without = values.get("refused_without_retry_after", 0)
    return f"{without:.0f} without Retry-After" if without else "all with Retry-After"


def _rows(results: Results) -> list[Row]:
    peak = results.value("unroll", BUSY, "rate")
    rows = []
    for factor in FACTORS:
        what, cell = f"{factor} times the capacity", results.cell("unroll", f"{factor} ×")
        values = {} if isinstance(cell, Failed) else cell
        hints = _hints(values) if values.get("refused") else "nothing was refused"
        rows.append(at_least(f"{what}: goodput", values.get("goodput"), "/s", "peak", peak, 0.95))
        rows.append(within(f"{what}: p99 of refusals", values.get("refused_p99_ms"), "ms", hints, 5))
    return rows


OVERLOAD = Scenario(
    "overload",
    "More arrivals than can be answered, tagger, one core",
    (
        Plan(service(), "sentences", (closed_loop(64), *(_overload(factor) for factor in FACTORS))),
        Plan(NAIVE, "sentences", (closed_loop(64), _overload(FACTORS[0]))),
    ),
    _rows,
    _show,
    "Open loop at a multiple of the capacity at 64 callers. Good: right answers a second within the window.",
)
