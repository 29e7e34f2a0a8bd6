"""The kinds of a batch of rows: arrays by column name, a table or record batch of pyarrow, a data frame of pandas.

Neither pyarrow nor pandas need be installed: a batch of theirs comes from who has them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from service.errors import InvalidInput
from service.offline.answer_columns import CellType


class BatchKind(Protocol):
    """How one kind of batch is read and extended; `batch` is of that kind."""

    def names(self, batch: Any) -> list[str]:
        """The names of its columns."""
        ...

    def cells(self, batch: Any, column: str) -> list[Any]:
        """The cells of a column as Python values."""
        ...

    def extended(self, batch: Any, added: Mapping[str, tuple[CellType, Sequence[Any]]]) -> Any:
        """A batch of the same kind with more columns; the given one stays as it is."""
        ...


def batch_kind(batch: Any) -> BatchKind:
    """The kind of a batch. Raises InvalidInput for what is none."""
    if isinstance(batch, Mapping):
        return _Arrays()
    module = type(batch).__module__.partition(".")[0]
    found = _KINDS.get((module, type(batch).__name__))
    if found is None:
        allowed = "a dict of arrays by column, a pyarrow.Table or RecordBatch, or a pandas.DataFrame"
        raise InvalidInput(f"a batch is {allowed}, not {type(batch).__module__}.{type(batch).__qualname__}")
    return found()


class _Arrays:
    """A dict of NumPy arrays, or lists, of the same length."""

    def names(self, batch: Mapping[str, Any]) -> list[str]:
        sizes = {name: len(column) for name, column in batch.items()}
        if len(set(sizes.values())) > 1:
            told = ", ".join(f"{name!r} {size}" for name, size in sizes.items())
            raise InvalidInput(f"the columns of a batch have as many rows: {told}")
        return list(batch)

    def cells(self, batch: Mapping[str, Any], column: str) -> list[Any]:
        return list(batch[column])

    def extended(self, batch: Mapping[str, Any], added: Mapping[str, tuple[CellType, Sequence[Any]]]) -> dict[str, Any]:
        return {**batch, **{name: _array(kind, cells) for name, (kind, cells) in added.items()}}


def _array(kind: CellType, cells: Sequence[Any]) -> np.ndarray[Any, Any]:
    """`[rows]`: float64 with NaN for null in a column of numbers, else objects with None for null."""
    if kind == "number":
        return np.array([np.nan if cell is None else cell for cell in cells], dtype=np.float64)
    found = np.empty(len(cells), dtype=object)
    for row, cell in enumerate(cells):  # one by one: NumPy takes lists of equal length for further axes
        found[row] = cell
    return found


class _ArrowTable:
    """A `pyarrow.Table`."""

    def names(self, batch: Any) -> list[str]:
        return list(batch.schema.names)

    def cells(self, batch: Any, column: str) -> list[Any]:
        found: list[Any] = batch.column(column).to_pylist()
        return found

    def extended(self, batch: Any, added: Mapping[str, tuple[CellType, Sequence[Any]]]) -> Any:
        from service.offline.arrow_types import arrow_array, arrow_field

        for name, (kind, cells) in added.items():
            batch = batch.append_column(arrow_field(name, kind), arrow_array(kind, cells))
        return batch


class _RecordBatch(_ArrowTable):
    """A `pyarrow.RecordBatch`."""

    def extended(self, batch: Any, added: Mapping[str, tuple[CellType, Sequence[Any]]]) -> Any:
        import pyarrow as pa

        table = super().extended(pa.Table.from_batches([batch]), added)
        arrays = [column.combine_chunks() for column in table.columns]
        chunks = [array.chunk(0) if isinstance(array, pa.ChunkedArray) else array for array in arrays]
        return pa.RecordBatch.from_arrays(chunks, schema=table.schema)


class _Frame:
    """A `pandas.DataFrame`."""

    def names(self, batch: Any) -> list[str]:
        return [str(name) for name in batch.columns]

    def cells(self, batch: Any, column: str) -> list[Any]:
        found: list[Any] = batch[column].tolist()
        return found

    def extended(self, batch: Any, added: Mapping[str, tuple[CellType, Sequence[Any]]]) -> Any:
        return batch.assign(**{name: _array(kind, cells) for name, (kind, cells) in added.items()})


_KINDS: Mapping[tuple[str, str], type[BatchKind]] = {
    ("pyarrow", "Table"): _ArrowTable,
    ("pyarrow", "RecordBatch"): _RecordBatch,
    ("pandas", "DataFrame"): _Frame,
}
