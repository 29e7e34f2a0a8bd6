"""Running text from a table: a row is a line, after its label where a label column is named."""

from __future__ import annotations

import hashlib
from pathlib import Path

from training.datasets.classification import TEXT_COLUMNS
from training.datasets.faults import DataFault, Report
from training.datasets.options import Format, Located, ReadOptions
from training.datasets.tables import cell_of, pick_column, read_table
from training.records import Passage


def read_table_text(path: Path, file_format: Format, options: ReadOptions, report: Report) -> list[Located]:
    """One passage of lines `text`, or `label: text`, mixed: tables are often sorted, and a model would learn that.

    The order depends on the lines alone, so that it is the same wherever the file is read.
    """
    table = read_table(path, file_format, report)
    if not table.columns:
        return []
    text_column = pick_column(table, options.text_column, TEXT_COLUMNS, "text", path)
    if text_column is None:
        raise DataFault(path, 1, f"no text column found among: {', '.join(table.columns)}", "name it")
    label_column = options.label_column and pick_column(table, options.label_column, (), "label", path)
    lines = []
    for row in table.rows:
        text = cell_of(row, text_column, path, report)
        label = cell_of(row, label_column, path, report) if label_column else ""
        if text is not None and label is not None:
            lines.append(f"{label}: {text}\n" if label_column else f"{text}\n")
    mixed = sorted(lines, key=lambda line: hashlib.sha256(line.encode()).digest())
    return [Located(Passage("".join(mixed)), 1)] if mixed else []
