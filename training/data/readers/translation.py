"""Read sentence pairs from a table with two columns, or from two line-aligned files."""

from __future__ import annotations

from pathlib import Path

from training.data.formats.faults import DataFault, Report
from training.data.formats.options import Format, Located, ReadOptions
from training.data.formats.slot_folder import aligned_lines
from training.data.formats.tables import cell_of, pick_column, read_table
from training.data.records import SentencePair


def read_pair_table(path: Path, file_format: Format, options: ReadOptions, report: Report) -> list[Located]:
    """Read a sentence and its translation from each row, by default from the first and the second column.

    Raises:
        DataFault: the table has no such columns.
    """
    table = read_table(path, file_format, report)
    if not table.columns:
        return []
    if len(table.columns) < 2:
        raise DataFault(path, 1, "only one column", "pairs need two, named in the first line")
    source_column = pick_column(table, options.source_column, (), "source", path)
    target_column = pick_column(table, options.target_column, (), "target", path)
    source_column = source_column or next(column for column in table.columns if column != target_column)
    target_column = target_column or next(column for column in table.columns if column != source_column)
    records = []
    for row in table.rows:
        source, target = cell_of(row, source_column, path, report), cell_of(row, target_column, path, report)
        if source is not None and target is not None:
            records.append(Located(SentencePair(source, target), row.line))
    return records


def read_parallel(source: Path, target: Path, report: Report) -> list[Located]:
    """Read pairs of lines: line n of one file is the translation of line n of the other."""
    return [
        Located(SentencePair(first.strip(), second.strip()), number)
        for number, (first, second) in aligned_lines(source, target, report)
    ]
