"""Tables from CSV, TSV and JSONL: rows of named cells with line numbers."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from training.data.formats.faults import DataFault, Report
from training.data.formats.lines import read_lines
from training.data.formats.options import Format

_MAX_FIELD_CHARACTERS = 2**31 - 1


class Row(NamedTuple):
    """Row of a table: the line it starts on, and its cells by column name."""

    line: int
    cells: dict[str, str]


class Table(NamedTuple):
    """Columns in the order of the file, and the usable rows."""

    columns: tuple[str, ...]
    rows: list[Row]


def read_table(path: Path, file_format: Format, report: Report) -> Table:
    """Read a CSV or TSV file with a header line, or a JSONL file of objects."""
    return _READERS[file_format](path, read_lines(path, report), report)


def _read_csv(path: Path, lines: Sequence[str], report: Report) -> Table:
    """Fields quoted with `"` may hold line breaks. The delimiter is `;` if the header has one and no comma."""
    header = lines[0] if lines else ""
    delimiter = ";" if ";" in header and "," not in header else ","
    return _table(path, list(_csv_rows(path, lines, delimiter, report)), report)


def _csv_rows(path: Path, lines: Sequence[str], delimiter: str, report: Report) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(_MAX_FIELD_CHARACTERS)
    reader = csv.reader((line + "\n" for line in lines), delimiter=delimiter, strict=True)
    while True:
        start = reader.line_num + 1
        try:
            yield start, next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            report.fault(path, start, f"invalid CSV: {error}", 'quote fields with ", and double any " inside them')


def _read_tsv(path: Path, lines: Sequence[str], report: Report) -> Table:
    """Fields are separated by tabs. Quotes are ordinary characters."""
    return _table(path, [(number, line.split("\t")) for number, line in enumerate(lines, start=1)], report)


def _table(path: Path, rows: list[tuple[int, list[str]]], report: Report) -> Table:
    """Take the first row as header. Blank rows are skipped."""
    rows = [(line, cells) for line, cells in rows if any(cell.strip() for cell in cells)]
    if not rows:
        return Table((), [])
    columns = tuple(cell.strip() for cell in rows[0][1])
    if len(set(columns)) != len(columns):
        report.fault(path, rows[0][0], f"duplicate column names: {', '.join(columns)}", "each must be unique")
    kept = []
    for line, cells in rows[1:]:
        if len(cells) == len(columns):
            kept.append(Row(line, dict(zip(columns, cells, strict=True))))
        else:
            allowed = f"the header names {len(columns)}: {', '.join(columns)}"
            report.fault(path, line, f"the number of columns is {len(cells)}", allowed)
    return Table(columns, kept)


def _read_jsonl(path: Path, lines: Sequence[str], report: Report) -> Table:
    columns: dict[str, None] = {}
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        cells = _json_cells(path, number, line, report)
        if cells is not None:
            columns.update(dict.fromkeys(cells))
            rows.append(Row(number, cells))
    return Table(tuple(columns), rows)


def _json_cells(path: Path, number: int, line: str, report: Report) -> dict[str, str] | None:
    """Text, number and boolean values of one object, as text."""
    allowed = "each line holds one object"
    try:
        value = json.loads(line)
    except ValueError as error:
        report.fault(path, number, f"invalid JSON: {error}", allowed)
        return None
    if not isinstance(value, dict):
        report.fault(path, number, f"a JSON {type(value).__name__}, not an object", allowed)
        return None
    return {key: item if isinstance(item, str) else json.dumps(item) for key, item in value.items() if _is_cell(item)}


def _is_cell(item: object) -> bool:
    return isinstance(item, str | int | float | bool)


def cell_of(row: Row, column: str, path: Path, report: Report) -> str | None:
    """Stripped text of a cell. A missing or blank cell is a fault and None."""
    value = row.cells.get(column, "").strip()
    if not value:
        report.fault(path, row.line, f"{column!r} is empty", "every row needs a value")
        return None
    return value


def pick_column(table: Table, wanted: str | None, usual: Sequence[str], what: str, path: Path) -> str | None:
    """The column that the user named, else the first of the usual names in the table (in any case), else None.

    Raises:
        DataFault: the table has no column of the user's name. Raised with a tolerant report too: no row can be read.
    """
    if wanted is not None:
        if wanted not in table.columns:
            named = ", ".join(table.columns) or "none"
            raise DataFault(path, 1, f"no {what} column {wanted!r}", f"the columns are: {named}")
        return wanted
    by_name = {column.casefold(): column for column in reversed(table.columns)}
    return next((by_name[name] for name in usual if name in by_name), None)


_READERS: dict[Format, Callable[[Path, Sequence[str], Report], Table]] = {
    "csv": _read_csv,
    "tsv": _read_tsv,
    "jsonl": _read_jsonl,
}
