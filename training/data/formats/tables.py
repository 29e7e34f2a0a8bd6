"""Tables from CSV, TSV and JSONL: rows of named cells with line numbers."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from training.data.formats.dialect import Dialect, find_dialect, parse
from training.data.formats.faults import DataFault, Facts, Report
from training.data.formats.foreign_files import is_web_page
from training.data.formats.header import data_in_header, is_known_header, is_usual_header, listed, shortened
from training.data.formats.json_rows import flat_cells, json_objects
from training.data.formats.lines import read_lines
from training.data.formats.options import Format, ReadOptions
from training.data.formats.raw_rows import (
    RawRow,
    cut_to_header,
    named_columns,
    warn_of_quotes,
    warn_of_swallowed_rows,
    without_header_again,
)

_SAMPLE_ROWS = 200
_MAX_TITLE_ROWS = 20
#: Where the user knows columns by number, and the first row looks like data, there is no doubt.
_BY_NUMBER = "known by number"


class Row(NamedTuple):
    """Row of a table: the line it starts on, and its cells by column name."""

    line: int
    cells: dict[str, str]


@dataclass(frozen=True)
class Table:
    """Columns in the order of the file, without those that have no name; and the usable rows.

    `numbers` are the names by number, as the user may give them. `header` is the line that names the columns; where
    the first row is data, it is None and the names are numbers. `lists` are names in JSON that hold lists, which are
    no cells. Readers add the columns that they take to `facts`.
    """

    columns: tuple[str, ...]
    rows: list[Row]
    numbers: dict[str, str] = field(default_factory=dict)
    header: int | None = 1
    has_usual_names: bool = True
    lists: tuple[str, ...] = ()
    facts: Facts = field(default_factory=dict)


def read_table(
    path: Path, file_format: Format, report: Report, options: ReadOptions | None = None, dates_name: str = ""
) -> Table:
    """Read a CSV or TSV file, or a JSON file of objects.

    `dates_name` is the name of a first column that has none and holds dates; without it, such a column is left out.
    """
    options = options or ReadOptions()
    lines = read_lines(path, report, options.encoding)
    if is_web_page("\n".join(lines[:20])):
        raise DataFault(path, 1, "the file is a web page (HTML), not a table", "download the file itself")
    if file_format == "jsonl":
        return _json_table(path, lines, report)
    return _separated_table(path, lines, find_dialect(lines, file_format, options), report, options, dates_name)


def _separated_table(
    path: Path, lines: Sequence[str], dialect: Dialect, report: Report, options: ReadOptions, dates_name: str
) -> Table:
    """Fields quoted with `"` may hold line breaks, except in files that are separated by tabs and called TSV."""
    rows = _rows(path, lines, dialect, report)
    if not rows:
        return Table((), [])
    facts = report.facts(path)
    facts["separator"] = dialect.name
    if options.header is None:
        _refuse_title(path, rows, lines, options)
    names, header = _names(path, rows, report, options)
    facts["header"] = "none" if header is None else f"line {header}"
    body = rows if header is None else without_header_again(path, names, rows[1:], report)
    kept = named_columns(path, names, header or rows[0].line, body, report, dates_name)
    if dialect.quoting:
        warn_of_swallowed_rows(path, body, dialect.separator, report)
    else:
        warn_of_quotes(path, body, report)
    return Table(
        columns=tuple(name for name in kept if name is not None),
        rows=[_named(row, kept) for row in cut_to_header(path, kept, body, report)],
        numbers={str(number): name for number, name in enumerate(kept, _first_number(options)) if name is not None},
        header=header,
        has_usual_names=is_usual_header(names, [row.cells for row in body[:_SAMPLE_ROWS]]),
        facts=facts,
    )


def _named(row: RawRow, names: Sequence[str | None]) -> Row:
    return Row(row.line, {name: cell for name, cell in zip(names, row.cells, strict=True) if name is not None})


def _rows(path: Path, lines: Sequence[str], dialect: Dialect, report: Report) -> list[RawRow]:
    """All rows that are not blank."""
    rows = []
    for line, cells in parse(lines[dialect.first :], dialect):
        if isinstance(cells, csv.Error):
            ends = "unexpected end" in str(cells)
            what = "a cell starts with a quote that is never closed" if ends else f"invalid CSV: {cells}"
            report.fault(path, line, what, 'quote fields with ", and double any " inside them')
        elif any(cell.strip() for cell in cells):
            rows.append(RawRow(line, cells))
    return rows


def _refuse_title(path: Path, rows: Sequence[RawRow], lines: Sequence[str], options: ReadOptions) -> None:
    """Refuse lines above the names of the columns, such as the title of an export."""
    wanted = [name for name in options.column_names if not name.isdecimal()]
    named = next((row for row in rows[:_MAX_TITLE_ROWS] if set(map(str.strip, row.cells)) & set(wanted)), None)
    if wanted and named is not None and named is not rows[0]:
        _raise_title(path, rows[0], named.line)
    is_single = len([cell for cell in rows[0].cells if cell.strip()]) == 1
    if (
        len(rows) < 3
        or not is_single
        or len([cell for cell in rows[1].cells if cell.strip()]) == 1 < len(rows[0].cells)
    ):
        return
    rest = lines[rows[1].line - 1 :][:_SAMPLE_ROWS]
    names = next(cells for _, cells in parse(rest, find_dialect(rest, "csv", ReadOptions())))
    if isinstance(names, list) and len(names) > 1 and is_known_header(names):
        _raise_title(path, rows[0], rows[1].line)


def _raise_title(path: Path, first: RawRow, line: int) -> None:
    what = f"{shortened(first.cells[0])} is no name of a column: line {line} names them"
    raise DataFault(path, first.line, what, f"remove the lines above it, or pass --column header={line}")


def _names(path: Path, rows: Sequence[RawRow], report: Report, options: ReadOptions) -> tuple[list[str], int | None]:
    """Names of the columns, and the line that has them; numbers and None where the first row is data."""
    first = rows[0]
    names = [cell.strip() for cell in first.cells]
    if options.header != "no":
        why = "" if options.header is not None else _why_data(names, rows[1 : 1 + _SAMPLE_ROWS], options)
        if not why:
            return names, first.line
        if why != _BY_NUMBER:
            what = f"the first row is read as data, and columns are known by number: {why}"
            report.warn(path, first.line, what, "pass --column header=no if that is right, else --column header=yes")
    start = _first_number(options)
    width = max(len(row.cells) for row in rows[:_SAMPLE_ROWS])
    return [str(number) for number in range(start, start + width)], None


def _why_data(names: Sequence[str], below: Sequence[RawRow], options: ReadOptions) -> str:
    wanted = options.column_names
    cells = [row.cells for row in below if row.cells != list(names)]
    if any(name in names for name in wanted):
        return ""
    why = data_in_header(names, cells)
    if wanted and all(name.isdecimal() for name in wanted):
        return _BY_NUMBER if why else "the columns to read are given by number"
    return why


def _first_number(options: ReadOptions) -> int:
    """Columns count from 1, as those of CoNLL do; with a 0 among them, from 0, as pandas counts."""
    return 0 if "0" in options.column_names else 1


def _json_table(path: Path, lines: Sequence[str], report: Report) -> Table:
    """Text, number and boolean values of each object, as text."""
    columns: dict[str, None] = {}
    lists: dict[str, None] = {}
    rows = []
    for number, value in json_objects(path, lines, report, of_cells=True):
        found = dict(flat_cells(value))
        cells = {name: cell for name, cell in found.items() if cell is not None}
        columns.update(dict.fromkeys(cells))
        lists.update(dict.fromkeys(found.keys() - cells.keys()))
        rows.append(Row(number, cells))
    facts = report.facts(path)
    if lists:
        facts["not read"] = ", ".join(f"`{name}` (lists)" for name in sorted(lists))
    return Table(tuple(columns), rows, lists=tuple(sorted(lists)), facts=facts)


def cell_of(row: Row, column: str, path: Path, report: Report, lists: Sequence[str] = ()) -> str | None:
    """Stripped text of a cell. A missing or blank cell is a fault and None; `lists` are columns that hold lists too."""
    value = row.cells.get(column, "").strip()
    if not value and column in lists and column not in row.cells:
        report.fault(path, row.line, f"{column!r} is a list of several", "every row needs one value")
        return None
    if not value:
        report.fault(path, row.line, f"{column!r} is empty", "every row needs a value")
        return None
    return value


def pick_column(table: Table, wanted: str | None, usual: Sequence[str], what: str, path: Path) -> str | None:
    """The column that the user named, else the first of the usual names in the table (in any case), else None.

    Raises:
        DataFault: the table has no column of the user's name. Raised with a tolerant report too: no row can be read.
    """
    by_name = {column.casefold(): column for column in reversed(table.columns)}
    found = next((by_name[name] for name in usual if name in by_name), None)
    column = found if wanted is None else _wanted_column(table, wanted, what, path)
    if column is not None:
        take_column(table, what, column)
    return column


def take_column(table: Table, what: str, column: str) -> None:
    """State that a column is taken as `what`."""
    table.facts[what] = shown_column(table, column)


def shown_column(table: Table, column: str) -> str:
    """A column as messages name it."""
    return f"column {column}" if table.header is None else f"`{column}`"


def _wanted_column(table: Table, wanted: str, what: str, path: Path) -> str:
    """The column of that name; else the only one that differs in case, ends in `.NAME`, or has that number."""
    if wanted in table.columns:
        return wanted
    folded = wanted.strip().casefold()
    alike = [column for column in table.columns if column.casefold() == folded]
    nested = [column for column in table.columns if column.casefold().endswith(f".{folded}")]
    for found in (alike, nested, [table.numbers[wanted]] if wanted in table.numbers else []):
        if len(found) == 1:
            return found[0]
    named = listed(table.columns)
    near = difflib.get_close_matches(wanted, table.columns, 1)
    meant = f"; did you mean {near[0]!r}?" if near else ""
    lists = f"; not read: {table.facts['not read']}" if "not read" in table.facts else ""
    raise DataFault(path, table.header or 1, f"no {what} column {wanted!r}", f"the columns are: {named}{lists}{meant}")
