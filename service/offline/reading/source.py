"""What all readers give: windows of rows, with the columns that are kept and the inputs of the model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

#: Rows of a window, and characters or bytes of its inputs, about: so much is in memory at once, and in one part of the
#: output.
WINDOW_ROWS, WINDOW_CHARACTERS = 8192, 1 << 23

#: Of a column that is kept. `arrow` columns have their type in a table of pyarrow; `json` is JSON as a text.
KeptType = Literal["text", "integer", "number", "boolean", "texts", "json", "arrow"]


class Row(NamedTuple):
    """The cell of the column of inputs, or a fault, and the cells that are kept."""

    value: Any
    kept: Sequence[Any]


class Window(NamedTuple):
    """Neighbouring rows.

    Attributes:
        number: from 0; windows of a file are the same at every reading.
        values: cells of the column of inputs, or faults.
        kept: the kept columns: lists by name, or a `pyarrow.Table`.
        position: how far the file had been read when the window was full, out of `Source.size`.
    """

    number: int
    values: Sequence[Any]
    kept: Any
    position: int


class Source(Protocol):
    """A file or folder of rows."""

    @property
    def kept(self) -> Mapping[str, KeptType]:
        """The columns that are kept, with their types."""
        ...

    @property
    def files(self) -> Sequence[Path]:
        """The files that are read, in order."""
        ...

    @property
    def size(self) -> int:
        """In the unit of the windows' positions."""
        ...

    def windows(self, max_rows: int = WINDOW_ROWS) -> Iterator[Window]:
        """All rows in order; each call reads anew.

        Raises:
            UnreadableInput: the file cannot be read on.
        """
        ...


def windows_of(rows: Iterable[Row], kept: Sequence[str], position: Any, max_rows: int) -> Iterator[Window]:
    """Rows in windows. `position()` tells how far the file is read."""
    number, size = 0, 0
    values: list[Any] = []
    columns: list[list[Any]] = [[] for _ in kept]
    for row in rows:
        values.append(row.value)
        for column, cell in zip(columns, row.kept, strict=True):
            column.append(cell)
        size += size_of(row.value)
        if len(values) >= max_rows or size > WINDOW_CHARACTERS:
            yield Window(number, values, dict(zip(kept, columns, strict=True)), position())
            number, size, values, columns = number + 1, 0, [], [[] for _ in kept]
    if values:
        yield Window(number, values, dict(zip(kept, columns, strict=True)), position())


def size_of(value: Any) -> int:
    """Characters, bytes or elements of a cell, about."""
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, list | tuple):
        return sum(len(part) + 8 if isinstance(part, str | list) else 8 for part in value)
    return 64
