"""Cells of a table as numbers: the decimal sign of each column, missing values, and columns that only count rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from service.tasks.inputs.numbers import Decimal, decimal_of, is_ambiguous, parse_number
from training.data.formats.faults import Report
from training.data.formats.options import ReadOptions
from training.data.formats.tables import Row

#: Names of columns that count the rows of a table; pandas writes the first two.
_INDEX_COLUMNS = frozenset({"", "unnamed: 0", "index", "id", "no", "nr", "row", "rownames", "row_id", "#"})


class NumberReader:
    """Reads the cells of some columns, each with the decimal sign that its cells prove, or those of the file."""

    def __init__(
        self, rows: Sequence[Row], columns: Sequence[str], options: ReadOptions, path: Path, report: Report
    ) -> None:
        """Reports a column whose numbers are ambiguous as a fault."""
        self._path, self._report = path, report
        self._missing = frozenset(options.missing)
        proofs = {name: decimal_of(row.cells.get(name, "") for row in rows) for name in columns}
        of_file = {proof for proof in proofs.values() if proof is not None}
        self._shared: Decimal | None = options.decimal or (of_file.pop() if len(of_file) == 1 else None)
        self._signs = {name: options.decimal or proof or self._shared for name, proof in proofs.items()}
        for name in columns:
            if self._signs[name] is None:
                self._require_clear(rows, name)

    def number(self, row: Row, column: str) -> float | None:
        """The number in a cell, NaN if it is missing, None if it is no number."""
        cell = row.cells.get(column, "")
        number = parse_number(cell, self._signs.get(column) or "point")
        return math.nan if number in self._missing else number

    def wrong(self, row: Row, column: str) -> str:
        """What is wrong with a cell that is no number."""
        return f"{column!r} is {row.cells.get(column, '').strip()!r}, not a number"

    def _require_clear(self, rows: Sequence[Row], column: str) -> None:
        doubtful = next((row for row in rows if is_ambiguous(row.cells.get(column, ""))), None)
        if doubtful is not None and all(_reads_both_ways(row.cells.get(column, "")) for row in rows):
            cell = doubtful.cells[column].strip()
            both = [parse_number(cell, decimal) for decimal in ("point", "comma")]
            allowed = f"pass --column decimal=point ({both[0]:g}) or --column decimal=comma ({both[1]:g})"
            self._report.fault(
                self._path, doubtful.line, f"{column!r} is {cell!r}: a comma of thousands or of decimals?", allowed
            )


def _reads_both_ways(cell: str) -> bool:
    return all(parse_number(cell, decimal) is not None for decimal in ("point", "comma"))


def index_columns(rows: Sequence[Row], columns: Sequence[str]) -> tuple[str, ...]:
    """Columns that count the rows from 0 or 1, and have no name or that of an index."""
    return tuple(name for name in columns if name.casefold() in _INDEX_COLUMNS and counts_rows(rows, name))


def counts_rows(rows: Sequence[Row], column: str) -> bool:
    """Whether a column holds 0, 1, 2, ... or 1, 2, 3, ..."""
    values = [parse_number(row.cells.get(column, "")) for row in rows]
    first = values[0] if values else None
    if first not in (0, 1):
        return False
    return all(value is not None and value == first + number for number, value in enumerate(values))
