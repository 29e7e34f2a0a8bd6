"""What a soak must show, as one line for each condition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.load.soak.callers.findings import SORTS, Findings, Sort
from tests.load.soak.watch.resources import Growth, Sample, growth
from tests.load.soak.watch.server_log import ServerLog

_PLURALS: dict[Sort, str] = {
    "wrong answer": "wrong answers",
    "server error": "statuses of 500 or more",
    "unexpected status": "other unexpected statuses",
    "no answer": "requests without an answer",
}
MAX_MEMORY_GROWTH = 0.05
#: Connections that are being opened or closed at the moment of a sample.
MAX_MORE_FILES = 8
MAX_MORE_THREADS = 2


class Condition(NamedTuple):
    """One line of the table at the end."""

    what: str
    found: str
    allowed: str
    holds: bool


@dataclass
class Soaked:
    """Everything that is known after a soak. `left` has the figures of `/metrics` that should be 0 again."""

    findings: Findings
    log: ServerLog
    wanted_kinds: tuple[str, ...]
    samples: list[Sample] = field(default_factory=list)
    left: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    warm_up_s: float | None = None

    def conditions(self) -> list[Condition]:
        """All conditions; those of growth only if there was a warm-up to compare with."""
        faults = [_none(_PLURALS[sort], self.findings.faults[sort]) for sort in SORTS]
        unasked = [kind for kind in self.wanted_kinds if not self.findings.requests[kind]]
        left = [f"{value:g} {name}" for name, value in self.left.items() if value]
        return [
            *faults,
            Condition("kinds that were not asked", ", ".join(unasked) or "0", "0", not unasked),
            _none("error lines in the log", self.log.num_errors),
            Condition("left open at the end", ", ".join(left) or "0", "0", bool(self.left) and not left),
            *([] if self.warm_up_s is None else self._growth(self.warm_up_s)),
        ]

    @property
    def holds(self) -> bool:
        return all(condition.holds for condition in self.conditions())

    def _growth(self, warm_up_s: float) -> list[Condition]:
        memory, files, threads = (
            growth(self.samples, warm_up_s, figure) for figure in ("resident_mb", "files", "threads")
        )
        return [
            Condition(
                "resident memory",
                f"{memory.first:,.0f} to {memory.last:,.0f} MB, {memory.share:+.1%}" if memory else "not measured",
                f"+{MAX_MEMORY_GROWTH:.0%}",
                memory is not None and memory.share <= MAX_MEMORY_GROWTH,
            ),
            _count("open files", files, MAX_MORE_FILES),
            _count("threads", threads, MAX_MORE_THREADS),
        ]


def _count(what: str, found: Growth | None, more: int) -> Condition:
    shown = f"{found.first:,.0f} to {found.last:,.0f}" if found else "not measured"
    return Condition(what, shown, f"+{more}", found is not None and found.last - found.first <= more)


def _none(what: str, found: int) -> Condition:
    return Condition(what, f"{found:,}", "0", not found)
