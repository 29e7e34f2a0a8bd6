"""The type of an experiment, and of its outcome: tables, and lines or bars of a figure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Any, Generic, TypeVar

Value = str | int | float | None
Row = tuple[Value, ...]
Tell = Callable[[str], None]
SettingsT = TypeVar("SettingsT")


@dataclass(frozen=True)
class Table:
    """A table. `columns` maps each heading to the format of its numbers, such as `.3f`; text is not formatted."""

    columns: dict[str, str]
    rows: Sequence[Row]
    title: str = ""

    def markdown(self) -> str:
        """The table in GitHub's Markdown, with numbers aligned right."""
        is_text = [all(isinstance(row[i], str) for row in self.rows) for i in range(len(self.columns))]
        rules = [":---" if text else "---:" for text in is_text]
        lines = [list(self.columns), rules, *(self._shown(row) for row in self.rows)]
        body = "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
        return f"{self.title}\n\n{body}" if self.title else body

    def _shown(self, row: Sequence[Value]) -> list[str]:
        return [_shown(value, spec) for value, spec in zip(row, self.columns.values(), strict=True)]


def _shown(value: Value, spec: str) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    return value if isinstance(value, str) else format(value, spec)


@dataclass(frozen=True)
class Line:
    """One curve; `spread` is the standard deviation over seeds, for error bars."""

    label: str
    xs: Sequence[float]
    ys: Sequence[float]
    spread: Sequence[float] | None = None


@dataclass(frozen=True)
class Panel:
    """One pair of axes with lines or bars (label to height and spread), and horizontal reference levels."""

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line] = ()
    bars: dict[str, tuple[float, float]] = field(default_factory=dict)
    levels: dict[str, float] = field(default_factory=dict)
    log_x: bool = False
    log_y: bool = False
    y_limits: tuple[float, float] | None = None


@dataclass(frozen=True)
class Outcome:
    """The results of an experiment."""

    tables: list[Table]
    panels: list[Panel]


@dataclass(frozen=True)
class Experiment(Generic[SettingsT]):
    """A question and the function that answers it. `quick` settings run in seconds, but their results mean nothing."""

    name: str
    question: str
    full: SettingsT
    quick: SettingsT
    run: Callable[[SettingsT, Tell], Outcome]


AnyExperiment = Experiment[Any]


def mean(values: Sequence[float]) -> float:
    """The mean; NaN for no values."""
    return fmean(values) if values else math.nan


def spread(values: Sequence[float]) -> float:
    """The standard deviation over seeds; NaN for a single one."""
    return stdev(values) if len(values) > 1 else math.nan
