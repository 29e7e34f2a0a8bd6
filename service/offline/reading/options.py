"""How a file is read: what users may say about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from service.offline.row_values import InputKind, input_column, require_columns


@dataclass(frozen=True)
class ReadOptions:
    """Options of reading.

    Attributes:
        kind: what the model takes.
        text_column: the column of inputs; None for the one with a usual name.
        keep: the columns that are kept; None for all of them.
        encoding: of a text file; None for UTF-8, or UTF-16 where the file begins with its mark.
        separator: of a table; None to find it.
        has_header: whether the first row of a table has the names of the columns.
    """

    kind: InputKind
    text_column: str | None = None
    keep: tuple[str, ...] | None = None
    encoding: str | None = None
    separator: str | None = None
    has_header: bool = True

    def input_column(self, columns: Sequence[str]) -> str:
        """The column of inputs. Raises MissingColumn."""
        return input_column(columns, self.kind, self.text_column, is_file=True)

    def kept_columns(self, columns: Sequence[str]) -> list[str]:
        """The columns that are kept, in the order of the file. Raises MissingColumn."""
        if self.keep is None:
            return list(columns)
        require_columns(columns, self.keep)
        return [column for column in columns if column in self.keep]
