"""The step between the rows of a series: seconds, workdays or months, and the times that follow the last row."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Literal, NamedTuple

import numpy as np

from service.tasks.inputs.times import Kind, Times

_DAY_S = 86_400.0
#: Seconds of the units that steps are spelled in, the longest first.
_UNITS = {"w": 7 * _DAY_S, "d": _DAY_S, "h": 3600.0, "min": 60.0, "s": 1.0}
_MONTHS = {"y": 12, "q": 3, "mo": 1}
_WORKDAY = "workday"
_SPELLING = re.compile(rf"([0-9.e+-]+)({'|'.join([*_UNITS, *_MONTHS])})?")
_PER_SECOND: dict[Kind, int] = {"s": 1, "ms": 1000, "us": 1_000_000, "ns": 1_000_000_000}
_MONTH_S = 365.2425 / 12 * _DAY_S
#: Largest relative difference between two steps that count as the same.
_SAME = 0.1


class TimeStep(NamedTuple):
    """So many seconds, months or numbers without a unit from row to row; `workday` skips Saturdays and Sundays."""

    length: float
    unit: Literal["second", "month", "workday", "number"]

    def __str__(self) -> str:
        """`15min`, `1h`, `1d`, `1w`, `1mo`, `1q`, `1y`, `workday`, or a plain number."""
        if self.unit == "workday":
            return _WORKDAY
        if self.unit == "number":
            return f"{self.length:g}"
        lengths = _MONTHS if self.unit == "month" else _UNITS
        unit = next((name for name, length in lengths.items() if self.length % length == 0), "s")
        return f"{self.length / lengths[unit]:g}{unit}"

    @property
    def seconds(self) -> float | None:
        """Mean length in seconds; None for a number without a unit."""
        lengths = {"second": self.length, "month": self.length * _MONTH_S, "workday": _DAY_S}
        return lengths.get(self.unit)

    def is_like(self, other: TimeStep) -> bool:
        """Whether rows with these two steps go on in the same way."""
        mine, its = self.seconds, other.seconds
        if mine is None or its is None:
            return mine is its and abs(self.length - other.length) <= _SAME * abs(self.length)
        return abs(mine - its) <= _SAME * mine


def step_of_text(text: str) -> TimeStep | None:
    """The inverse of `str(step)`; None for anything else."""
    if text == _WORKDAY:
        return TimeStep(1, "workday")
    found = _SPELLING.fullmatch(text)
    if found is None:
        return None
    count, unit = float(found[1]), found[2]
    if unit is None:
        return TimeStep(count, "number")
    return TimeStep(count * _MONTHS[unit], "month") if unit in _MONTHS else TimeStep(count * _UNITS[unit], "second")


def step_of(times: Times) -> TimeStep | None:
    """The usual step of increasing times; None if there are fewer than two, or they do not increase."""
    moments = times.moments[np.isfinite(times.moments)]
    steps = np.diff(moments)
    usual = float(np.median(steps)) if len(steps) else 0.0
    if usual <= 0:
        return None
    if times.kind == "number":
        return TimeStep(usual, "number")
    local = [_local(moment, times) for moment in moments.tolist()]
    months = np.diff([each.year * 12 + each.month for each in local])
    if float(np.median(months)) >= 1 and _are_aligned(local):
        return TimeStep(int(np.median(months)), "month")
    is_daily = usual == _DAY_S and all(each.weekday() < 5 for each in local)
    return TimeStep(1, "workday") if is_daily and len(local) > 5 else TimeStep(usual, "second")


def following(times: Times, step: TimeStep, count: int) -> list[str]:
    """The `count` times after the last one, in ISO 8601, or as numbers where the times are numbers or epochs."""
    known = times.moments[np.isfinite(times.moments)]
    last = float(known[-1])
    if step.unit == "number":
        return [_plain(last + step.length * number) for number in range(1, count + 1)]
    start = _local(last, times)
    at_end = step.unit == "month" and all(_is_last_day(_local(moment, times)) for moment in known.tolist())
    after = [_after(start, step, number, at_end) for number in range(1, count + 1)]
    if times.kind in _PER_SECOND:
        return [_plain(round(moment.timestamp() * _PER_SECOND[times.kind])) for moment in after]
    is_day = step.unit in ("month", "workday") or step.length % _DAY_S == 0
    return [_spelled(moment, times, is_day) for moment in after]


def iso_times(times: Times) -> tuple[str, ...]:
    """All times in ISO 8601, numbers as they are; an unreadable one is empty."""
    return tuple("" if np.isnan(moment) else _iso(moment, times) for moment in times.moments.tolist())


def _iso(moment: float, times: Times) -> str:
    return _plain(moment) if times.kind == "number" else _spelled(_local(moment, times), times, True)


def _after(start: datetime, step: TimeStep, number: int, at_end: bool) -> datetime:
    if step.unit == "second":
        return start + timedelta(seconds=step.length * number)
    if step.unit == "workday":
        return start + timedelta(days=_calendar_days(start.weekday(), number))
    return _months_later(start, int(step.length) * number, at_end)


def _calendar_days(weekday: int, workdays: int) -> int:
    weeks, rest = divmod(min(weekday, 4) + workdays, 5)
    return 7 * weeks + rest - weekday


def _months_later(start: datetime, months: int, at_end: bool) -> datetime:
    """The same day of a later month, or its last day where it has no such day."""
    years, month = divmod(start.month - 1 + months, 12)
    first = start.replace(year=start.year + years, month=month + 1, day=1)
    length = ((first + timedelta(days=31)).replace(day=1) - first).days
    return first.replace(day=length if at_end else min(start.day, length))


def _are_aligned(local: list[datetime]) -> bool:
    """Whether all times are on the same day of their month, or on its last."""
    clocks = {each.time() for each in local}
    return len(clocks) == 1 and (len({each.day for each in local}) == 1 or all(map(_is_last_day, local)))


def _is_last_day(moment: datetime) -> bool:
    return (moment + timedelta(days=1)).day == 1


def _local(moment: float, times: Times) -> datetime:
    zone = UTC if times.offset_s is None else timezone(timedelta(seconds=times.offset_s))
    return datetime.fromtimestamp(0, zone) + timedelta(seconds=moment)


def _spelled(moment: datetime, times: Times, is_day: bool) -> str:
    match times.kind:
        case "year" if moment.month == 1:
            return f"{moment.year:04}"
        case "quarter":
            return f"{moment.year:04}-Q{(moment.month + 2) // 3}"
        case "month":
            return f"{moment.year:04}-{moment.month:02}"
        case "week":
            year, week, _ = moment.isocalendar()
            return f"{year:04}-W{week:02}"
        case "day" if is_day:
            return moment.date().isoformat()
    text = moment.replace(tzinfo=None).isoformat(sep="T")
    return text if times.offset_s is None else text + _zone(times.offset_s)


def _zone(offset_s: int) -> str:
    if not offset_s:
        return "Z"
    minutes = abs(offset_s) // 60
    return f"{'-' if offset_s < 0 else '+'}{minutes // 60:02}:{minutes % 60:02}"


def _plain(number: float) -> str:
    return str(int(number)) if number == int(number) else f"{number:.12g}"
