"""The times of a table: the column that holds them, its form, and what is odd about their order."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np

from service.tasks.inputs.time_steps import TimeStep, iso_times, step_of
from service.tasks.inputs.times import AmbiguousDates, Times, is_a_date_column, is_usual, read_times
from training.data.formats.faults import DataFault, Report
from training.data.formats.options import ReadOptions
from training.data.formats.tables import Row, Table, pick_column

TIME_COLUMNS = ("date", "time", "datetime", "timestamp")
_CLOCK_COLUMNS = ("time", "hour", "clock", "uhrzeit", "heure", "hora")
_CLOCK = re.compile(r"\d{1,2}(?:[:.]\d{2}){1,2}(?:[.,]\d+)?(?: ?[AaPp]\.?[Mm]\.?)?")
#: Columns that together are a time.
_PARTS = ("year", "month", "day", "hour", "minute")
_FORMS = (
    "write 2016-07-01 02:00:00 or a number, or name their form, such as --column dates=day-first or "
    "--column dates='%d.%m.%Y %H:%M'"
)
#: More rows than this share with a time that is there already are several series in one file.
_SEVERAL_SERIES = 0.2
_HOUR_S = 3600.0
_REGULAR = 0.9
#: 1954 to 2119.
_SPREADSHEET_DAYS = (20_000, 80_000)


class TimeColumn(NamedTuple):
    """Columns that hold the times, and the text of each row; both are empty if there are none."""

    columns: tuple[str, ...]
    cells: tuple[str, ...]


def time_column_of(table: Table, options: ReadOptions, path: Path, report: Report) -> TimeColumn:
    """The column that the user named, `date` and `time` together, or the parts of a date.

    Raises:
        DataFault: there is no such column; or another holds dates, and would be a channel.
    """
    names = _named(table, options.time_column, path) or _usual(table, options)
    if not names:
        _tell_of_others(table, options, path, report)
    return TimeColumn(names, tuple(_joined(row, names) for row in table.rows))


def _named(table: Table, wanted: str | None, path: Path) -> tuple[str, ...]:
    if wanted is None:
        return ()
    names = (wanted,) if wanted in table.columns else tuple(name.strip() for name in wanted.split("+"))
    for name in names:
        pick_column(table, name, TIME_COLUMNS, "time", path)
    return names


def _usual(table: Table, options: ReadOptions) -> tuple[str, ...]:
    by_name = {column.casefold(): column for column in reversed(table.columns)}
    first = next((by_name[name] for name in TIME_COLUMNS if name in by_name), None)
    if first is not None:
        clock = next((by_name[name] for name in _CLOCK_COLUMNS if name in by_name and by_name[name] != first), None)
        is_split = clock is not None and all(_is_clock(row.cells.get(clock, "")) for row in table.rows)
        return (first, clock) if is_split and clock is not None else (first,)
    parts = tuple(by_name[name] for name in _PARTS if name in by_name)
    return parts if by_name.keys() >= {"year", "month"} and options.channel_columns is None else ()


def _is_clock(cell: str) -> bool:
    return _CLOCK.fullmatch(cell.strip()) is not None


def _joined(row: Row, names: tuple[str, ...]) -> str:
    cells = [row.cells.get(name, "").strip() for name in names]
    if [name.casefold() for name in names[:2]] != ["year", "month"]:
        return " ".join(cells)
    date, clock = (sign.join(cell.zfill(2) for cell in part) for sign, part in (("-", cells[:3]), (":", cells[3:])))
    clock += ":00" if len(cells) == len(_PARTS) - 1 else ""
    return f"{date} {clock}".strip()


def _tell_of_others(table: Table, options: ReadOptions, path: Path, report: Report) -> None:
    """Raises DataFault if a column holds dates; a warning is enough where the user has named the channels."""
    for column in table.columns:
        if column in (options.channel_columns or ()):
            continue
        cells = [row.cells.get(column, "") for row in table.rows]
        if is_a_date_column(cells) or _counts_time(cells):
            shown = next(cell for cell in cells if cell.strip())
            what, allowed = (
                f"the column {column!r} holds dates ({shown!r})",
                f"pass --column {shlex.quote(f'time={column}')}",
            )
            if options.channel_columns is None:
                raise DataFault(path, 1, what, allowed)
            report.warn(path, 1, f"{what} and is not read; {allowed}")


def _counts_time(cells: Sequence[str]) -> bool:
    """Whether numbers are years, compact dates or epochs that increase by the same step nearly everywhere."""
    times = read_times(cells)
    step = step_of(times) if times.kind != "number" and np.isfinite(times.moments).all() else None
    if step is None:
        return False
    steps = np.diff(times.moments)
    return len(steps) > 1 and bool((is_usual(steps, float(np.median(steps)))).mean() > _REGULAR)


class ReadTimes(NamedTuple):
    """The times as ISO 8601 (numbers as they are), as numbers, and their step, None if there is no regular one."""

    spelled: tuple[str, ...]
    times: Times
    step: TimeStep | None


def read_time_column(column: TimeColumn, rows: Sequence[Row], form: str, path: Path, report: Report) -> ReadTimes:
    """Read the times, and report those that cannot be read, do not increase, or leave a gap."""
    try:
        times = read_times(column.cells, form)
    except AmbiguousDates as error:
        options = " or ".join(f"--column dates={order}" for order in error.orders)
        raise DataFault(path, rows[0].line, str(error), f"pass {options}") from error
    _require_times(column, rows, times, path, report)
    if times.kind == "number" and _are_spreadsheet_days(column, times):
        what = f"{column.cells[0]} is read as a plain number; if it is a date of a spreadsheet, save it as 2024-01-31"
        report.warn(path, rows[0].line, what)
    step = step_of(times)
    if np.isfinite(times.moments).all():
        _check_order(column, rows, times, step, path, report)
    is_plain = times.kind == "number" or all(map(_is_iso, column.cells))
    return ReadTimes(column.cells if is_plain else iso_times(times), times, step)


def _are_spreadsheet_days(column: TimeColumn, times: Times) -> bool:
    """Whether a column of dates holds numbers such as 45292, the days since 1899 in a spreadsheet."""
    first, last = _SPREADSHEET_DAYS
    return "date" in column.columns[0].casefold() and bool(((times.moments > first) & (times.moments < last)).all())


def _is_iso(cell: str) -> bool:
    try:
        datetime.fromisoformat(cell)
    except ValueError:
        return False
    return "-" in cell[:5]


def _require_times(column: TimeColumn, rows: Sequence[Row], times: Times, path: Path, report: Report) -> None:
    wrong = np.flatnonzero(~np.isfinite(times.moments)).tolist()
    if len(wrong) > 1 and len(wrong) == len(rows):
        name = "+".join(column.columns)
        raise DataFault(path, rows[0].line, f"{name!r} holds no times, such as {column.cells[0]!r}", _FORMS)
    for index in wrong:
        report.fault(path, rows[index].line, f"{column.cells[index]!r} is not a time", _FORMS)


def _check_order(
    column: TimeColumn, rows: Sequence[Row], times: Times, step: TimeStep | None, path: Path, report: Report
) -> None:
    steps, cells = np.diff(times.moments), column.cells
    back = np.flatnonzero(~(steps > 0)).tolist()
    if len(back) > 1 and len(back) == len(steps) and (steps < 0).all():
        report.fault(path, rows[1].line, "the newest row is first", "sort the rows by time: they must increase")
        return
    num_repeats = len(rows) - len(set(times.moments.tolist()))
    if num_repeats > max(2, _SEVERAL_SERIES * len(rows)):
        allowed = "one series is trained on at a time: keep the rows of one, or give each a column of its own"
        report.fault(
            path, rows[back[0] + 1].line, f"many rows have the time of another ({cells[back[0] + 1]})", allowed
        )
        return
    for index in back:
        allowed = "times must increase" + _clock_change(times, index + 1)
        report.fault(path, rows[index + 1].line, f"{cells[index + 1]} does not come after {cells[index]}", allowed)
    usual = float(np.median(steps)) if len(steps) else 0.0
    for index in np.flatnonzero((steps > 0) & ~is_usual(steps, usual)).tolist():
        if step is None or step.unit != "workday" or not _is_weekend(times, index):
            gap = "" if steps[index] < usual else _clock_change(times, index + 1)
            report.warn(
                path, rows[index + 1].line, f"{cells[index + 1]} follows {cells[index]}: not the usual step{gap}"
            )


def _is_weekend(times: Times, index: int) -> bool:
    """Whether the row after `index` is the next workday: a Monday after a Friday."""
    before, after = (_date(moment) for moment in times.moments[index : index + 2].tolist())
    return before.weekday() == 4 and (after - before).days == 3


def _clock_change(times: Times, index: int) -> str:
    """A hint where clocks are changed: an hour twice in autumn, or missing in spring, in times without a zone."""
    if times.offset_s is not None or times.kind != "moment":
        return ""
    moment, step = _date(times.moments[index]), times.moments[index] - times.moments[index - 1]
    is_change = moment.weekday() == 6 and moment.hour <= 3 and moment.month in (3, 4, 10, 11)
    return "; are clocks changed here? write the times in UTC" if is_change and abs(step) <= 2 * _HOUR_S else ""


def _date(moment: float) -> datetime:
    return datetime.fromtimestamp(moment, UTC)
