"""Rows of CSV and TSV files: the separator is found by the content, and a broken row is a fault of that row alone."""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from service.offline.reading.text_lines import MAX_LINE_BYTES, Line
from service.offline.row_values import RowFault

#: The mark of Excel that names the separator, alone on the first line.
_EXCEL_MARK = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
_SEPARATORS = (",", ";", "\t", "|")
_SAMPLE_LINES = 400
#: How much less consistent the separator that the suffix leads to expect may be than another.
_LEEWAY = 0.3


class Dialect(NamedTuple):
    """How a table is written. Without `quoting`, quotes are ordinary characters; `skipped` lines precede the table."""

    separator: str
    quoting: bool = True
    skipped: int = 0


def find_dialect(head: Sequence[str], is_tsv: bool, separator: str | None = None) -> Dialect:
    """The dialect of a file by its first lines: the separator with which most rows have as many cells as the first."""
    first = next((index for index, line in enumerate(head) if line.strip()), 0)
    mark = _EXCEL_MARK.fullmatch(head[first]) if head else None
    skipped = first + 1 if mark else 0
    sample = [line for line in head[skipped : skipped + _SAMPLE_LINES] if line.strip()]
    usual = "\t" if is_tsv else ","
    found = separator or (mark[1] if mark else _separator(sample, usual))
    return Dialect(found, not (is_tsv and found == "\t"), skipped)


def _separator(sample: Sequence[str], usual: str) -> str:
    shares = {sign: _consistency(sample, sign) for sign in (usual, *(s for s in _SEPARATORS if s != usual))}
    best = max(shares, key=lambda sign: shares[sign])
    return usual if shares[usual] > 0 and shares[usual] >= shares[best] - _LEEWAY else best


def _consistency(sample: Sequence[str], separator: str) -> float:
    """The share of rows with as many cells as the first; 0 where that has one cell."""
    widths = [len(cells) for cells in csv.reader(sample, delimiter=separator) if cells]
    return sum(width == widths[0] for width in widths) / len(widths) if widths and widths[0] > 1 else 0.0


def table_rows(lines: Iterator[Line], dialect: Dialect) -> Iterator[tuple[list[str], RowFault | None]]:
    """The cells of each row, and what is wrong with it; blank lines are no rows."""
    for _ in range(dialect.skipped):
        next(lines, None)
    if dialect.quoting:
        yield from _QuotedRows(lines, dialect.separator)
        return
    for line in lines:
        if line.text or line.fault:
            yield line.text.split(dialect.separator), RowFault(line.fault) if line.fault else None


class _QuotedRows:
    """Rows whose cells may be quoted and contain line ends.

    Where a quote does not close, or text follows a closing one, the first line of the row is at fault, and reading goes
    on with the line after it: otherwise one stray quote would swallow the rest of the file.
    """

    def __init__(self, lines: Iterator[Line], separator: str) -> None:
        self._lines = lines
        self._separator = separator
        self._again: deque[Line] = deque()
        self._taken: list[Line] = []
        self._size = 0
        csv.field_size_limit(2**31 - 1)

    def __iter__(self) -> Iterator[tuple[list[str], RowFault | None]]:
        reader = self._reader()
        while True:
            self._taken, self._size = [], 0
            try:
                cells = next(reader)
            except StopIteration:
                return
            except (csv.Error, _RowTooLong) as error:
                yield self._broken(error)
                reader = self._reader()
                continue
            fault = next((line.fault for line in self._taken if line.fault), "")
            if cells or fault:
                yield cells, RowFault(fault) if fault else None

    def _broken(self, error: Exception) -> tuple[list[str], RowFault]:
        first, rest = self._taken[0], self._taken[1:]
        self._again.extendleft(reversed(rest))
        is_open = isinstance(error, _RowTooLong) or "end of data" in str(error) or bool(rest)
        what = "a quote that opens in this row does not close" if is_open else f"the row cannot be read: {error}"
        return first.text.split(self._separator), RowFault(first.fault or what)

    def _reader(self) -> Iterator[list[str]]:
        return csv.reader(self._feed(), delimiter=self._separator, strict=True)

    def _feed(self) -> Iterator[str]:
        while True:
            line = self._again.popleft() if self._again else next(self._lines, None)
            if line is None:
                return
            self._taken.append(line)
            self._size += len(line.text)
            if self._size > MAX_LINE_BYTES:
                raise _RowTooLong
            yield line.text + "\n"


class _RowTooLong(Exception):
    """A row has more lines than memory is for; its quote is not closed."""


def column_names(cells: Sequence[str]) -> list[str]:
    """The names in a header: blank ones are numbered, and those that are there already get a number as well."""
    names: list[str] = []
    for number, cell in enumerate(cells, start=1):
        name = cell.strip() or f"column {number}"
        while name in names:
            name = f"{name}_{number}"
        names.append(name)
    return names
