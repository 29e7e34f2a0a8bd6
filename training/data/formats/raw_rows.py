"""Rows of a table before they have names: unnamed columns, row names, ragged rows, quotes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from service.tasks.inputs.times import is_a_date_column
from training.data.formats.faults import Report
from training.data.formats.header import listed

#: Names that pandas gives to a column without one.
_UNNAMED = re.compile(r"(Unnamed: \d+(_level_\d+)?)?")
_ROW_NAME = re.compile(r"[\w.-]+")
_DOUBLED_QUOTES = re.compile(r'"(?=.*"")(?:[^"]|"")*"', re.DOTALL)
_MOSTLY = 0.5
#: Share of cells quoted beyond doubt; with fewer, the quotes are those of a quotation.
_FEW = 0.001


class RawRow(NamedTuple):
    """Cells of a row, and the line that it starts on."""

    line: int
    cells: list[str]


def without_header_again(path: Path, names: Sequence[str], body: list[RawRow], report: Report) -> list[RawRow]:
    """Rows but those that repeat the names of the columns, as joined files have them."""
    again = [row for row in body if len(row.cells) == len(names) and all(map(_is_name, row.cells, names))]
    if not again or len(names) < 2:
        return body
    more = f" (and {len(again) - 1:,} more)" if len(again) > 1 else ""
    report.warn(path, again[0].line, f"the names of the columns again{more}, as joined files have them: left out")
    lines = {row.line for row in again}
    return [row for row in body if row.line not in lines]


def _is_name(cell: str, name: str) -> bool:
    return cell.strip() == name


def named_columns(
    path: Path, names: list[str], line: int, body: list[RawRow], report: Report, dates_name: str = ""
) -> list[str | None]:
    """Names of the columns that are read; None for those without a name.

    A first column without a name that holds dates, as pandas writes the index of a series, is called `dates_name`, if
    one is given. A header with one name less than the rows have cells is that of a table with row names, as R writes.
    """
    if len(body) > 1 and all(len(row.cells) == len(names) + 1 and _ROW_NAME.fullmatch(row.cells[0]) for row in body):
        names = ["", *names]
    if len(set(filter(None, names))) != len(list(filter(None, names))):
        report.fault(path, line, f"duplicate column names: {listed(names)}", "each must be unique")
    kept = [None if _UNNAMED.fullmatch(name) else name for name in names]
    if kept[:1] == [None] and dates_name and dates_name not in kept and _holds_dates(body):
        kept[0] = dates_name
    nameless = [_nameless(path, index, names, line, body, report) for index, name in enumerate(kept) if name is None]
    if nameless:
        report.facts(path)["not read"] = ", ".join(dict.fromkeys(nameless))
    return kept


def _holds_dates(body: Sequence[RawRow]) -> bool:
    return is_a_date_column([row.cells[0] for row in body])


def _nameless(path: Path, index: int, names: Sequence[str], line: int, body: Sequence[RawRow], report: Report) -> str:
    """What a column without a name holds. Anything but nothing, or a name for each row, is warned of."""
    cells = [row.cells[index].strip() for row in body if index < len(row.cells)]
    full = [cell for cell in cells if cell]
    if not full:
        return "empty columns without a name"
    if counts_rows(full):
        report.warn(
            path, line, f"{names[index]!r} only counts the rows and is left out", "save tables without an index"
        )
        return f"column {index + 1}, which counts the rows"
    if index == 0 and len(set(full)) == len(full) == len(body):
        return f"column {index + 1}, which names the rows"
    what = f"column {index + 1} has no name, but {len(full):,} cells: it is not read"
    report.warn(path, line, what, "give it a name, or quote cells that hold the separator")
    return f"column {index + 1}, which has no name"


def counts_rows(cells: Sequence[str]) -> bool:
    """Whether a column counts its rows, from any number on."""
    if not cells or not all(cell.isdecimal() for cell in cells):
        return False
    start = int(cells[0])
    return [int(cell) for cell in cells] == list(range(start, start + len(cells)))


def cut_to_header(path: Path, names: Sequence[str | None], body: Sequence[RawRow], report: Report) -> Iterator[RawRow]:
    """Rows with a cell for each name. More or fewer are a fault, except for empty cells at the end."""
    width = len(names)
    needed = max((index for index, name in enumerate(names, start=1) if name is not None), default=0)
    for row in body:
        line, cells = row
        if len(cells) == width:
            yield row
            continue
        while len(cells) > width and not cells[-1].strip():
            cells = cells[:-1]
        if needed <= len(cells) <= width:
            yield RawRow(line, cells + [""] * (width - len(cells)))
            continue
        allowed = f"the header names {width}: {listed([name or '(no name)' for name in names])}"
        report.fault(path, line, f"the number of columns is {len(cells)}", allowed + _hint(cells))


def _hint(cells: Sequence[str]) -> str:
    """Why a row may have another number of cells."""
    if any("“" in cell or "”" in cell for cell in cells):
        return '; curly quotes do not quote: write "'
    return (
        "; a cell starts with a quote: pass --format csv if quoted cells hold tabs or line breaks"
        if any(cell.startswith('"') and cell.count('"') % 2 for cell in cells)
        else ""
    )


def warn_of_quotes(path: Path, body: Sequence[RawRow], report: Report) -> None:
    """Warn of cells that are quoted as in CSV, in a file where quotes are ordinary characters."""
    for index in range(max((len(row.cells) for row in body), default=0)):
        cells = [(row.line, row.cells[index].strip()) for row in body if index < len(row.cells)]
        quoted = [line for line, cell in cells if len(cell) > 1 and cell[0] == cell[-1] == '"']
        sure = [line for line, cell in cells if cell.startswith('"') and _DOUBLED_QUOTES.fullmatch(cell)]
        lines = (sure if len(sure) >= _FEW * len(cells) else []) or (
            quoted if len(quoted) > max(1, _MOSTLY * len(cells)) else []
        )
        if lines:
            more = f" (and in {len(lines) - 1:,} more rows)" if len(lines) > 1 else ""
            what = f"column {index + 1} is quoted as in CSV{more}; quotes are kept, as TSV has no quoting"
            report.warn(path, lines[0], what, "pass --format csv to take quotes away")


def warn_of_swallowed_rows(path: Path, body: Sequence[RawRow], separator: str, report: Report) -> None:
    """Warn of a quoted cell whose lines look like rows: a stray quote joins them until the next one."""
    for line, cells in body:
        for cell in (cell for cell in cells if "\n" in cell):
            inner = cell.split("\n")[1:-1]
            if inner and all(part.count(separator) == len(cells) - 1 for part in inner):
                what = f"a quote holds {len(inner) + 2:,} lines together in one cell, and they look like rows"
                report.warn(path, line, what, "close or double the quote on this line")
