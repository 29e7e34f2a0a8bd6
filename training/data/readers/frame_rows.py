"""Tables with one row per frame: columns, values, and windows of long recordings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.formats.faults import DataFault, Report
from training.data.formats.options import Located, ReadOptions
from training.data.formats.tables import Row, Table, pick_column, read_table
from training.data.readers.cells.numbers import NumberReader, index_columns
from training.data.readers.classification import LABEL_COLUMNS
from training.data.records import LabelledSignal

SEQUENCE_COLUMNS = ("sequence", "utterance", "series", "window", "recording", "sequence_id", "series_id", "window_id")
#: Columns with the position of a frame in its sequence. They are ignored: the order of rows in the file counts.
STEP_COLUMNS = ("step", "time", "frame", "index", "t", "timestamp")
GROUP_COLUMNS = ("speaker", "subject", "group", "person", "user")
#: Label columns beside the features of a frame.
SIGNAL_LABELS = (*LABEL_COLUMNS, "activity", "digit", "word")


def feature_columns(table: Table, others: set[str | None], path: Path, report: Report) -> tuple[str, ...]:
    """Feature columns of a frame: all but `others` and those that count steps or rows; the latter are reported."""
    found = [name for name in table.columns if name not in others and name.casefold() not in STEP_COLUMNS]
    counters = index_columns(table.rows, found)
    if counters and len(counters) < len(found):
        kept = ",".join(found)
        shown = ", ".join(map(repr, counters))
        report.warn(path, 1, f"{shown} only counts the rows and is left out; --column channels={kept} keeps it")
        found = [name for name in found if name not in counters]
    return tuple(found)


def is_whole_sequence(
    rows: Sequence[Row],
    columns: tuple[str, str | None, str | None],
    seen: dict[tuple[str, str], int],
    path: Path,
    report: Report,
) -> bool:
    """Whether rows are all of one sequence, with one label; what is wrong is reported. Adds the sequence to `seen`.

    Args:
        rows: that follow each other and have the same sequence.
        columns: of the sequence, of the label and of the group.
        seen: lines on which earlier sequences begin, by sequence and group.
    """
    first = rows[0].cells
    sequence, label, group = columns
    key = first[sequence], first.get(group or "", "")
    if key in seen:
        what = f"sequence {key[0]!r} begins again: rows of others stand between these and those from line {seen[key]}"
        report.fault(path, rows[0].line, what, "sort the rows by sequence, or give each sequence a name of its own")
        return False
    seen[key] = rows[0].line
    return label is None or _has_one_label(rows, sequence, label, path, report)


def _has_one_label(rows: Sequence[Row], sequence: str, label: str, path: Path, report: Report) -> bool:
    usual = rows[0].cells[label].strip()
    change = next((row for row in rows if row.cells[label].strip() not in ("", usual)), None)
    if change is not None:
        what = f"label {change.cells[label]!r} in sequence {rows[0].cells[sequence]!r}, which began with {usual!r}"
        allowed = "a sequence has one label; --column window=ROWS cuts a recording that has a label on each row"
        report.fault(path, change.line, what, allowed)
    return change is None


def numbers_of(
    rows: list[Row], features: tuple[str, ...], numbers: NumberReader, path: Path, report: Report
) -> NDArray[np.float32] | None:
    """Values `[rows, features]`, or None after a fault in a cell, which is reported."""
    values = np.empty((len(rows), len(features)), dtype=np.float32)
    for index, row in enumerate(rows):
        for column, name in enumerate(features):
            number = numbers.number(row, name) if name in row.cells else None
            if number is None:
                report.fault(path, row.line, numbers.wrong(row, name), "every frame needs all features")
                return None
            values[index, column] = number
        if not np.isfinite(values[index]).all():
            report.fault(path, row.line, "a number is not finite", "remove such sequences, or fill the gap")
            return None
    return values


def needed(column: str | None, what: str, path: Path) -> str:
    """Return the column. Raises DataFault if it is None."""
    if column is None:
        raise DataFault(path, 1, f"no {what} column found", f"pass --column {what}=...")
    return column


def read_windows(path: Path, options: ReadOptions, report: Report) -> Iterator[Located]:
    """Cut a recording, with one labelled row per time step, into windows of `window_rows` rows.

    A window never spans two labels, groups or sequences: where one of them changes, a new stretch begins. Remaining
    rows at the end of a stretch are dropped, but a stretch shorter than a window becomes one record.
    """
    table = read_table(path, "csv" if path.suffix.lower() == ".csv" else "tsv", report, options)
    label = needed(pick_column(table, options.label_column, SIGNAL_LABELS, "label", path), "label", path)
    group = pick_column(table, options.group_column, GROUP_COLUMNS, "group", path)
    sequence = pick_column(table, options.sequence_column, SEQUENCE_COLUMNS, "sequence", path)
    features = options.channel_columns or feature_columns(table, {label, group, sequence}, path, report)
    numbers = NumberReader(table.rows, features, options, path, report)
    borders = [column for column in (label, group, sequence) if column]
    for number, (cells, stretch) in enumerate(
        groupby(table.rows, key=lambda row: tuple(row.cells.get(column, "") for column in borders)), start=1
    ):
        rows = list(stretch)
        if not cells[0]:
            report.fault(path, rows[0].line, f"{label!r} is empty", "every row of a recording needs its label")
            continue
        owner = rows[0].cells.get(group or "", "")
        for part in _windows(rows, options.window_rows, options.stride_rows or options.window_rows):
            values = numbers_of(part, tuple(features), numbers, path, report)
            if values is not None:
                signal = LabelledSignal(values, cells[0], tuple(features), group=owner, stretch=f"{path.name}:{number}")
                yield Located(signal, part[0].line)


def _windows(rows: Sequence[Row], size: int, stride: int) -> Iterator[list[Row]]:
    for start in range(0, max(1, len(rows) - size + 1), stride):
        yield list(rows[start : start + size])
