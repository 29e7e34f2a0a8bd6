"""Parquet files, one or a folder of them, as windows: the types of kept columns stay as they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from service.offline.reading.options import ReadOptions
from service.offline.reading.source import WINDOW_CHARACTERS, WINDOW_ROWS, KeptType, Window, size_of
from service.offline.reading.text_lines import UnreadableInput


class ParquetFile:
    """A Parquet file, or a folder of them that have the same columns, by name. See `Source`.

    Positions count rows.
    """

    def __init__(self, path: Path, options: ReadOptions) -> None:
        """Raises UnreadableInput, MissingColumn."""
        self.files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
        opened = [_open(file) for file in self.files]
        self.schema = opened[0].schema_arrow
        self.columns = list(self.schema.names)
        twice = next((name for name in self.columns if self.columns.count(name) > 1), None)
        if twice is not None:
            raise UnreadableInput(f"{self.files[0]} has several columns named {twice!r}: rename all but one")
        other = next((i for i, one in enumerate(opened) if not one.schema_arrow.equals(self.schema)), None)
        if other is not None:
            raise UnreadableInput(f"{self.files[other]} has other columns than {self.files[0]}")
        self.size = sum(one.metadata.num_rows for one in opened)
        self._input = options.input_column(self.columns)
        self._times = "times" if options.kind == "frames" and "times" in self.columns else None
        self.kept: dict[str, KeptType] = dict.fromkeys(options.kept_columns(self.columns), "arrow")

    @property
    def kept_schema(self) -> Any:
        """The `pyarrow.Schema` of the kept columns."""
        return pa.schema([self.schema.field(name) for name in self.kept])

    def windows(self, max_rows: int = WINDOW_ROWS) -> Iterator[Window]:
        number, position = 0, 0
        read = list(dict.fromkeys([self._input, *filter(None, [self._times]), *self.kept]))
        for file in self.files:
            for batch in _batches(file, read, max_rows):
                values = self._values(batch)
                for start, end in _pieces(values):
                    position += end - start
                    kept = pa.Table.from_batches([batch.slice(start, end - start)]).select(list(self.kept))
                    yield Window(number, values[start:end], kept, position)
                    number += 1

    def _values(self, batch: Any) -> list[Any]:
        values: list[Any] = batch.column(self._input).to_pylist()
        if self._times is None:
            return values
        times = batch.column(self._times).to_pylist()
        return [{"frames": frames, "times": time} for frames, time in zip(values, times, strict=True)]


def _pieces(values: list[Any]) -> Iterator[tuple[int, int]]:
    """Start and end of runs of values that are not too large for a window."""
    start, size = 0, 0
    for end, value in enumerate(values, start=1):
        size += size_of(value)
        if size > WINDOW_CHARACTERS or end == len(values):
            yield start, end
            start, size = end, 0


def _open(file: Path) -> Any:
    try:
        return pq.ParquetFile(file)
    except (OSError, pa.ArrowException) as error:
        raise UnreadableInput(f"{file}: no Parquet file that can be read: {error}") from error


def _batches(file: Path, columns: list[str], max_rows: int) -> Iterator[Any]:
    try:
        with pq.ParquetFile(file) as opened:
            yield from opened.iter_batches(batch_size=max_rows, columns=columns)
    except (OSError, pa.ArrowException) as error:
        raise UnreadableInput(f"{file} cannot be read: {error}") from error
