"""Find the dialect of a table: its separator, how its cells are quoted, and the line that names the columns."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from training.data.formats.options import Format, ReadOptions

#: The mark of Excel that names the separator, alone on the first line.
_EXCEL_MARK = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
_SEPARATORS: dict[str, str] = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_SAMPLE_LINES = 400
#: Share of rows that must have as many cells as the first, for a separator that the format does not lead to expect.
_CONSISTENT = 0.8
#: How much less consistent the separator that the format leads to expect may be than another.
_LEEWAY = 0.3


class Dialect(NamedTuple):
    """`first` is the index of the first line to parse. Without `quoting`, quotes are ordinary characters."""

    separator: str
    first: int = 0
    quoting: bool = True
    skip_blanks: bool = False

    @property
    def name(self) -> str:
        """The separator in words."""
        return _SEPARATORS.get(self.separator, repr(self.separator))


def find_dialect(lines: Sequence[str], file_format: Format, options: ReadOptions) -> Dialect:
    """Find the dialect by the content: the separator with which the most rows have as many cells as the first one."""
    first = next((index for index, line in enumerate(lines) if line.strip()), 0)
    mark = _EXCEL_MARK.fullmatch(lines[first]) if lines else None
    first = first if mark is None else first + 1
    if isinstance(options.header, int):
        first = options.header - 1
    wanted = options.separator or (mark.group(1) if mark else None)
    usual = "\t" if file_format == "tsv" else ","
    sample = lines[first : first + _SAMPLE_LINES]
    separator = wanted or _separator(sample, usual)
    # Files for Excel and pandas quote with any separator; what is called TSV mostly has quotes as they are written.
    dialect = Dialect(separator, first, quoting=not (file_format == "tsv" and separator == "\t"))
    return dialect._replace(skip_blanks=_has_blanks_before_quotes(sample, dialect)) if dialect.quoting else dialect


def parse(lines: Sequence[str], dialect: Dialect) -> Iterator[tuple[int, list[str] | csv.Error]]:
    """Yield the line number on which each row starts, and its cells, or what is wrong with it."""
    if not dialect.quoting:
        yield from ((number, line.split(dialect.separator)) for number, line in enumerate(lines, dialect.first + 1))
        return
    csv.field_size_limit(2**31 - 1)
    text = (line + "\n" for line in lines)
    reader = csv.reader(text, delimiter=dialect.separator, strict=True, skipinitialspace=dialect.skip_blanks)
    while True:
        start = dialect.first + reader.line_num + 1
        try:
            yield start, next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield start, error


def _separator(sample: Sequence[str], usual: str) -> str:
    order = [usual, *(other for other in _SEPARATORS if other != usual)]
    shares = {separator: _consistency(sample, Dialect(separator)) for separator in order}
    columned = {separator: share for separator, (cells, share) in shares.items() if cells > 1}
    if not columned:  # a single column: the separator that no row has
        return max(order, key=lambda separator: shares[separator][1])
    best = max(columned, key=lambda separator: columned[separator])
    if usual in columned and columned[usual] >= columned[best] - _LEEWAY:
        return usual
    return best if columned[best] >= _CONSISTENT or usual not in columned else usual


def _consistency(sample: Sequence[str], dialect: Dialect) -> tuple[int, float]:
    """The number of cells of the first row, and the share of rows that have as many."""
    counts = [0 if isinstance(cells, csv.Error) else len(cells) for _, cells in parse(sample, dialect) if cells]
    return (counts[0], sum(count == counts[0] for count in counts) / len(counts)) if counts else (0, 0.0)


def _has_blanks_before_quotes(sample: Sequence[str], dialect: Dialect) -> bool:
    """Whether cells are quoted after a blank, as in `hi, "a"`, and all rows can be read that way."""
    opening = re.compile(rf"{re.escape(dialect.separator)} +\"")
    if dialect.separator == " " or not any(opening.search(line) for line in sample):
        return False
    skipping = dialect._replace(skip_blanks=True)
    return _consistency(sample, skipping)[1] >= _consistency(sample, dialect)[1]
