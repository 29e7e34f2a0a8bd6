"""Read a time series from a table with one row per time step: channels, missing values, time checks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.formats.faults import DataFault, Report
from training.data.formats.options import Format, Located, ReadOptions
from training.data.formats.tables import Row, Table, pick_column, read_table
from training.data.records import Series

#: Spellings of a missing value.
_MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?"})
_TIME_COLUMNS = ("date", "time", "datetime", "timestamp")
#: Largest relative deviation from the usual step. Months, for one, differ by three days and count as equal steps.
_STEP_TOLERANCE = 0.5


def read_series(path: Path, file_format: Format, options: ReadOptions, report: Report) -> list[Located]:
    """Read the whole table as one record, or as none if it has no rows.

    A channel is a column, or `column=value`: 1 where the cell has that value, else 0. A cell that is not a number is a
    fault, an empty one a missing value. Times, if there is a time column, must increase.
    """
    table = read_table(path, file_format, report, options)
    if not table.rows:
        return []
    time_column = pick_column(table, options.time_column, _TIME_COLUMNS, "time", path)
    channels = options.channel_columns or tuple(name for name in table.columns if name != time_column)
    _require_columns(table, channels, path)
    targets = _targets(channels, options.target_column, path)
    rows = [_numbers(row, channels, path, report) for row in table.rows]
    times = () if time_column is None else tuple(row.cells.get(time_column, "").strip() for row in table.rows)
    _check_times(table.rows, times, path, report)
    series = Series(channels, targets, np.array(rows, dtype=np.float64), times, len(rows))
    return [Located(series, table.rows[0].line)]


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


def _numbers(row: Row, channels: Sequence[str], path: Path, report: Report) -> list[float]:
    return [_number(row, channel, path, report) for channel in channels]


def _number(row: Row, channel: str, path: Path, report: Report) -> float:
    """Value of a cell; NaN if it is missing, or faulty with a tolerant report."""
    if channel not in row.cells and "=" in channel:
        base, _, value = channel.partition("=")
        return float(row.cells.get(base, "").strip() == value)
    cell = row.cells.get(channel, "").strip()
    if cell.casefold() in _MISSING:
        return math.nan
    try:
        number = float(cell)
    except ValueError:
        number = math.inf
    if math.isinf(number):
        report.fault(
            path,
            row.line,
            f"{channel!r} is {cell!r}, not a number",
            f"leave missing values empty or write NA; read categories with --column channels={channel}={cell},...",
        )
        return math.nan
    return number


def _check_times(rows: Sequence[Row], times: Sequence[str], path: Path, report: Report) -> None:
    """Report times that cannot be parsed, do not increase, or leave a gap."""
    moments = seconds_of(times)
    for row, time, moment in zip(rows, times, moments, strict=False):
        if math.isnan(moment):
            report.fault(path, row.line, f"{time!r} is not a time", "write 2016-07-01 02:00:00 or a number")
    if len(moments) < 2 or not np.isfinite(moments).all():
        return
    steps = np.diff(moments)
    usual = float(np.median(steps))
    for index in np.flatnonzero(~(steps > 0)).tolist():
        here, before = times[index + 1], times[index]
        report.fault(path, rows[index + 1].line, f"{here} does not come after {before}", "times must increase")
    for index in np.flatnonzero((steps > 0) & ~is_usual(steps, usual)).tolist():
        report.warn(path, rows[index + 1].line, f"{times[index + 1]} follows {times[index]}: not the usual step")


def is_usual(steps: NDArray[np.float64], usual: float) -> NDArray[np.bool_]:
    """Mask of the time steps that are about as long as the usual one."""
    return np.asarray(np.abs(steps - usual) <= _STEP_TOLERANCE * abs(usual))


def seconds_of(times: Sequence[str]) -> NDArray[np.float64]:
    """Times as numbers: seconds for dates, numbers unchanged, NaN for anything else."""
    return np.array([_moment(time) for time in times], dtype=np.float64)


def _moment(time: str) -> float:
    try:
        return float(time)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(time)
    except ValueError:
        return math.nan
    # Times without a time zone are UTC, so that the result does not depend on the machine's zone.
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def follows(train: Series, dev: Series) -> bool:
    """Whether `dev` starts one step after the end of `train`, by their times."""
    if len(train.times) < 2 or not dev.times:
        return False
    moments = seconds_of(train.times)
    gap = seconds_of(dev.times[:1]) - moments[-1]
    return bool(is_usual(gap, float(np.median(np.diff(moments))))[0])
