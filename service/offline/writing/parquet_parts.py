"""Parts in Parquet, and all of them as one file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from service.offline.arrow_types import arrow_array, arrow_field
from service.offline.writing.output_plan import OutputPlan

_TYPES: Mapping[str, Any] = {
    "text": pa.string(),
    "json": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "texts": pa.list_(pa.string()),
}


def write_table(path: Path, plan: OutputPlan, kept: Any, answers: Sequence[Sequence[Any]]) -> None:
    """Write a window as one row group; see `write_part`."""
    schema = arrow_schema(plan)
    columns = [_column(cells, schema.field(name).type) for name, cells in kept.items()] if _is_plain(kept) else (
        kept.combine_chunks().columns
    )  # fmt: skip
    arrays = [arrow_array(kind, cells) for kind, cells in zip(plan.types, answers, strict=True)]
    pq.write_table(pa.Table.from_arrays([*columns, *arrays], schema=schema), path, compression=plan.compression)


def join_tables(path: Path, plan: OutputPlan, parts: Iterable[Path]) -> None:
    """Copy the row groups of all parts into one file; see `join_parts`."""
    with pq.ParquetWriter(path, arrow_schema(plan), compression=plan.compression) as writer:
        for part in parts:
            writer.write_table(pq.read_table(part))


def arrow_schema(plan: OutputPlan) -> Any:
    """The `pyarrow.Schema` of the output."""
    kept = plan.kept_schema or [pa.field(name, _TYPES[kind]) for name, kind in plan.kept.items()]
    return pa.schema([*kept, *map(arrow_field, plan.names, plan.types)])


def _is_plain(kept: Any) -> bool:
    return isinstance(kept, Mapping)


def _column(cells: Sequence[Any], kind: Any) -> Any:
    """A column of texts may hold halves of surrogate pairs, from the escapes of JSON; Arrow has none."""
    try:
        return pa.array(cells, type=kind)
    except UnicodeEncodeError:
        return pa.array([_without_surrogates(cell) for cell in cells], type=kind)


def _without_surrogates(cell: Any) -> Any:
    return cell.encode("utf-8", "replace").decode("utf-8") if isinstance(cell, str) else cell
