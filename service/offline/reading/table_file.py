"""CSV and TSV files as windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from service.offline.reading.delimited import column_names, find_dialect, table_rows
from service.offline.reading.options import ReadOptions
from service.offline.reading.source import WINDOW_ROWS, KeptType, Row, Window, windows_of
from service.offline.reading.text_lines import TextLines, UnreadableInput
from service.offline.row_values import RowFault


class TableFile:
    """A CSV or TSV file. All of its cells are kept as texts: `007` stays `007`. See `Source`."""

    def __init__(self, path: Path, options: ReadOptions, is_tsv: bool) -> None:
        """Find the dialect and the columns.

        Raises:
            UnreadableInput: the file cannot be read, or is empty.
            MissingColumn: there is no such column, or none with a usual name.
        """
        self._path, self._options = path, options
        self.files = [path]
        self.size = path.stat().st_size
        lines = TextLines(path, options.encoding)
        self._dialect = find_dialect(lines.head(), is_tsv, options.separator)
        first = next(table_rows(iter(lines), self._dialect), None)
        lines.close()
        if first is None:
            raise UnreadableInput(f"{path}: the file is empty: there is no header that names the columns")
        header = first[0] if options.has_header else [f"column {number + 1}" for number in range(len(first[0]))]
        self.columns = column_names(header)
        self._place = self.columns.index(options.input_column(self.columns))
        names = options.kept_columns(self.columns)
        self._kept_places = [self.columns.index(name) for name in names]
        self.kept: dict[str, KeptType] = dict.fromkeys(names, "text")

    def windows(self, max_rows: int = WINDOW_ROWS) -> Iterator[Window]:
        lines = TextLines(self._path, self._options.encoding)
        return windows_of(self._rows(lines), list(self.kept), lambda: lines.position, max_rows)

    def _rows(self, lines: TextLines) -> Iterator[Row]:
        rows = table_rows(iter(lines), self._dialect)
        if self._options.has_header:
            next(rows, None)
        num_columns, place, kept = len(self.columns), self._place, self._kept_places
        for cells, fault in rows:
            if len(cells) == num_columns and fault is None:
                yield Row(cells[place], [cells[index] for index in kept])
            else:
                yield self._faulty(cells, fault)

    def _faulty(self, cells: Sequence[str], fault: RowFault | None) -> Row:
        """A row that is broken, or has more or fewer cells than the header: its cells are kept as far as they go."""
        kept = [cells[index] if index < len(cells) else None for index in self._kept_places]
        return Row(fault or RowFault(f"the row has {len(cells)} cells, the header {len(self.columns)}"), kept)
