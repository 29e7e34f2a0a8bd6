"""Read a time series from a table with one row per time step: channels, missing values, time checks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from service.tasks.inputs.time_steps import TimeStep, step_of
from service.tasks.inputs.times import is_usual, read_times
from training.data.formats.faults import DataFault, Report
from training.data.formats.header import listed
from training.data.formats.options import Format, Located, ReadOptions
from training.data.formats.tables import Row, Table, read_table, shown_column
from training.data.readers.cells.missing_marks import warn_of_missing_marks
from training.data.readers.cells.numbers import NumberReader, index_columns
from training.data.readers.cells.times import ReadTimes, TimeColumn, read_time_column, time_column_of
from training.data.readers.columns import state_ignored
from training.data.records import Series


def read_series(path: Path, file_format: Format, options: ReadOptions, report: Report) -> list[Located]:
    """Read the whole table as one record, or as none if it has no rows.

    A channel is a column, or `column=value`: 1 where the cell has that value, else 0. A cell that is not a number is a
    fault, an empty one a missing value. Times, if there is a time column, must increase.
    """
    table = read_table(path, file_format, report, options, dates_name="date")
    if not table.rows:
        return []
    time = time_column_of(table, options, path, report)
    channels = options.channel_columns or _channels(table, time, path, report)
    _require_columns(table, channels, path)
    targets = _targets(channels, options.target_column, path)
    numbers = NumberReader(table.rows, [name for name in channels if name in table.columns], options, path, report)
    rows = [[_number(row, channel, numbers, path, report) for channel in channels] for row in table.rows]
    read = read_time_column(time, table.rows, options.dates, path, report) if time.columns else None
    _state(table, time, read, channels, targets)
    spelled = read.spelled if read else ()
    values = np.array(rows, dtype=np.float64)
    warn_of_missing_marks(table.rows, channels, values, path, report)
    series = Series(channels, targets, values, spelled, len(rows))
    return [Located(series, table.rows[0].line)]


def _state(
    table: Table, time: TimeColumn, read: ReadTimes | None, channels: Sequence[str], targets: Sequence[str]
) -> None:
    """State the columns that are taken, and how the times are read: the first one, the last one and the step."""
    facts = table.facts
    facts["time"] = "none: rows are taken as equal steps"
    if read is not None:
        named = " + ".join(shown_column(table, name) for name in time.columns)
        step = f", steps of {read.step}" if read.step else ""
        facts["time"] = f"{named}, {read.spelled[0]} to {read.spelled[-1]}{step}"
    facts["channels"] = listed([shown_column(table, name) for name in channels])
    facts["forecast"] = "all of them" if list(targets) == list(channels) else listed([f"`{name}`" for name in targets])
    state_ignored(table, *time.columns, *channels, *map(_base, channels))
    facts["rows"] = f"{len(table.rows):,}"


def _channels(table: Table, time: TimeColumn, path: Path, report: Report) -> tuple[str, ...]:
    """All columns but the time and those that only count rows, which are reported."""
    others = [name for name in table.columns if name not in time.columns]
    counters = index_columns(table.rows, others)
    found = tuple(name for name in others if name not in counters)
    if counters and found:
        kept = ",".join([*counters, *found])
        shown = ", ".join(map(repr, counters))
        report.warn(path, 1, f"{shown} only counts the rows and is left out; --column channels={kept} keeps it")
        return found
    return tuple(others)


def _require_columns(table: Table, channels: Sequence[str], path: Path) -> None:
    for channel in channels:
        if channel not in table.columns and _base(channel) not in table.columns:
            named = ", ".join(table.columns) or "none"
            raise DataFault(path, 1, f"no column {_base(channel)!r}", f"the columns are: {named}")


def _targets(channels: tuple[str, ...], wanted: str | None, path: Path) -> tuple[str, ...]:
    """Channels to forecast: those that the user named, separated by commas, else all."""
    if wanted is None:
        return channels
    targets = (wanted,) if wanted in channels else tuple(name.strip() for name in wanted.split(","))
    for target in targets:
        if target not in channels:
            raise DataFault(path, 1, f"no channel {target!r} to forecast", f"the channels are: {', '.join(channels)}")
    return targets


def _base(channel: str) -> str:
    """`wind=NE` -> `wind`."""
    return channel.partition("=")[0]


def _number(row: Row, channel: str, numbers: NumberReader, path: Path, report: Report) -> float:
    """Value of a cell; NaN if it is missing, or faulty with a tolerant report."""
    if channel not in row.cells and "=" in channel:
        base, _, value = channel.partition("=")
        return float(row.cells.get(base, "").strip() == value)
    number = numbers.number(row, channel)
    if number is None:
        cell = row.cells.get(channel, "").strip()
        allowed = f"leave missing values empty or write NA; {_other_form(channel, cell)}"
        report.fault(path, row.line, numbers.wrong(row, channel), allowed)
        return math.nan
    return number


def _other_form(channel: str, cell: str) -> str:
    if "," in cell:
        return "1,5 is read with --column decimal=comma"
    if cell[:1].isdigit() and not cell.replace("_", "").isdigit():
        return "write the number alone, without a unit"
    if any(character.isalpha() for character in cell):
        return f"read categories with --column channels={channel}={cell},..."
    return "write 1010, 1,010 or 1010.5"


def follows(train: Series, dev: Series) -> bool:
    """Whether `dev` starts one step after the end of `train`, by their times."""
    if len(train.times) < 2 or not dev.times:
        return False
    times = read_times(train.times)
    moments = times.moments
    gap = read_times([*train.times[-1:], *dev.times[:1]]).moments[-1:] - moments[-1]
    return bool(is_usual(gap, float(np.median(np.diff(moments))))[0])


def step_of_series(series: Series) -> TimeStep | None:
    """The usual step from row to row; None without times, or where they do not increase."""
    return step_of(read_times(series.times)) if series.times else None
