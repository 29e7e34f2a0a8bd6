"""The types of Arrow for the columns that a model adds."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import pyarrow as pa

from service.offline.answer_columns import CellType


@cache
def arrow_type(kind: CellType) -> Any:
    """The `pyarrow.DataType` of a column."""
    label = [("label", pa.string()), ("text", pa.string()), ("score", pa.float64())]
    places = [(name, pa.int64()) for name in ("start", "end", "first_token", "end_token")]
    return {
        "text": pa.string(),
        "json": pa.string(),
        "number": pa.float64(),
        "integer": pa.int64(),
        "texts": pa.list_(pa.string()),
        "numbers": pa.list_(pa.float64()),
        "integers": pa.list_(pa.int64()),
        "rows": pa.list_(pa.list_(pa.float64())),
        "spans": pa.list_(pa.struct([*label, *places])),
        "labels": pa.list_(pa.struct([label[0], label[2]])),
    }[kind]


def arrow_field(name: str, kind: CellType) -> Any:
    """The `pyarrow.Field` of a column."""
    return pa.field(name, arrow_type(kind))


def arrow_array(kind: CellType, cells: Sequence[Any]) -> Any:
    """The cells as a `pyarrow.Array`."""
    return pa.array(cells, type=arrow_type(kind))
