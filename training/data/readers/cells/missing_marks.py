"""Numbers that stand for a missing value, such as -9999: found by their digits and their distance from all others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from training.data.formats.faults import Report
from training.data.formats.tables import Row

#: Fill values of scientific formats, such as 1e20 and 9.96921e36.
_HUGE = 1e20
_MIN_OCCURRENCES = 2


def warn_of_missing_marks(
    rows: Sequence[Row], names: Sequence[str], values: npt.NDArray[np.float64], path: Path, report: Report
) -> None:
    """Warn of each column of `values` `[rows, columns]` in which a number looks like a mark of missing values."""
    for name, column in zip(names, values.T, strict=True):
        for mark in missing_marks(column):
            places = np.flatnonzero(column == mark)
            others = column[np.isfinite(column) & (column != mark)]
            shown = repr(mark).removesuffix(".0")
            reach = f"{others.min():g} to {others.max():g}"
            what = f"{name!r} is {shown} in {len(places):,} rows, far from all others, {reach}"
            how = f"pass --column missing={shown} if a value is missing there"
            report.warn(path, rows[int(places[0])].line, what, how)


def missing_marks(column: npt.NDArray[np.float64]) -> list[float]:
    """The least and the greatest number of a column `[rows]`, where they repeat, are 9s and lie beyond its range."""
    known = column[np.isfinite(column)]
    extremes = {float(known.min()), float(known.max())} if len(known) else set()
    marks = [value for value in extremes if _is_made_of_nines(value) and (known == value).sum() >= _MIN_OCCURRENCES]
    others = known[~np.isin(known, marks)]
    if not len(others):
        return []
    spread = others.max() - others.min()
    return sorted(mark for mark in marks if np.abs(others - mark).min() > spread)


def _is_made_of_nines(value: float) -> bool:
    digits = f"{abs(value):.10g}".replace(".", "")
    return abs(value) >= _HUGE or (len(digits) > 1 and set(digits) == {"9"})
