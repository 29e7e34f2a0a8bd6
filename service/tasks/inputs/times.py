"""Times as people write them in tables: ISO 8601, day or month first, compact, months, weeks, epochs, numbers.

The cells of a column are read together, because one alone may be ambiguous: `01/02/2024` is the first of February if
another cell is `13/02/2024`. What stays ambiguous is refused with the option that decides it, never guessed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.errors import InvalidInput
from service.tasks.inputs.numbers import is_missing

#: What a time says: a moment, a day, a period that begins on its first day, an epoch, or a number without a unit.
Kind = Literal["moment", "day", "week", "month", "quarter", "year", "s", "ms", "us", "ns", "number"]
#: How many of each kind of epoch are a second, and the smallest and largest second that is read as one: 1973 to 2100.
_EPOCHS: dict[Kind, float] = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
_EPOCH_FROM_S, _EPOCH_TO_S = 1e8, 4.1e9
#: Largest relative deviation of a step from the usual one. Months, for one, differ by three days and count as equal.
STEP_TOLERANCE = 0.5
_SAMPLE = 400
_CENTURY_PIVOT = 70


class Times(NamedTuple):
    """The times of a column: seconds since 1970 in UTC (numbers as they are), NaN where a cell is no time.

    `offset_s` is the UTC offset of the last time, None if the times have no zone.
    """

    kind: Kind
    moments: NDArray[np.float64]
    offset_s: int | None = None


class AmbiguousDates(InvalidInput):
    """Dates that can be read in several ways, all of which fit all cells."""

    def __init__(self, message: str, orders: Iterable[str]) -> None:
        super().__init__(message)
        self.orders = tuple(orders)


_Reading = tuple[datetime, Kind]
_Parser = Callable[[re.Match[str]], _Reading | None]

_FRACTION = r"(?:[.,](?P<f>\d{1,9}))?"
_CLOCK = (
    rf"(?:(?:T|,? +)(?P<H>\d{{1,2}})(?:(?:[:.]|(?=\d\d))(?P<M>\d\d)(?:(?:[:.]|(?=\d\d))(?P<S>\d\d){_FRACTION})?)?"
    r"(?: ?(?P<p>[AaPp])\.?[Mm]\.?)?)?"
)
_ZONE = r" ?(?P<z>Z|z|UTC|GMT|[+-]\d\d(?::?\d\d)?)?(?:\[[\w/+-]+\])?"
_NAME = r"(?P<n>jan|feb|mar|apr|may|jun|jul|aug|sept?|oct|nov|dec)[a-z]*\.?"
_MONTH_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTHS = {name: number for number, name in enumerate(_MONTH_NAMES, start=1)}
_YEAR = r"(?P<y>1[5-9]\d\d|2[0-2]\d\d)"
_WEEKDAY = r"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*,? +)?"


def _calendar_date(found: re.Match[str]) -> _Reading | None:
    return _moment(found, int(found["y"]), int(found["m"]), int(found["d"]))


def _named_date(found: re.Match[str]) -> _Reading | None:
    return _moment(found, _full_year(found["y"]), _MONTHS[found["n"][:3].lower()], int(found["d"]))


def _month(found: re.Match[str]) -> _Reading | None:
    return _first_day(int(found["y"]), int(found["m"]), "month")


def _named_month(found: re.Match[str]) -> _Reading | None:
    return _first_day(_full_year(found["y"]), _MONTHS[found["n"][:3].lower()], "month")


def _quarter(found: re.Match[str]) -> _Reading | None:
    return _first_day(int(found["y"]), 3 * int(found["q"]) - 2, "quarter")


def _week(found: re.Match[str]) -> _Reading | None:
    try:
        day = date.fromisocalendar(int(found["y"]), int(found["w"]), int(found["d"] or 1))
    except ValueError:
        return None
    return datetime(day.year, day.month, day.day, tzinfo=UTC), "day" if found["d"] else "week"


def _year(found: re.Match[str]) -> _Reading | None:
    return _first_day(int(found["y"]), 1, "year")


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE | re.ASCII)


#: Forms that have one reading, the most usual first.
_FORMS: tuple[tuple[re.Pattern[str], _Parser], ...] = (
    (_compiled(rf"(?P<y>\d{{4}})([-/.])(?P<m>\d{{1,2}})\2(?P<d>\d{{1,2}}){_CLOCK}{_ZONE}"), _calendar_date),
    (_compiled(rf"{_YEAR}(?P<m>\d\d)(?P<d>\d\d){_CLOCK}{_ZONE}"), _calendar_date),
    (_compiled(rf"{_YEAR}(?P<m>\d\d)(?P<d>\d\d)(?P<H>\d\d)(?:(?P<M>\d\d)(?P<S>\d\d)?)?"), _calendar_date),
    (_compiled(rf"{_WEEKDAY}(?P<d>\d{{1,2}})[ .-]+{_NAME}[ ,-]+(?P<y>\d{{4}}|\d\d){_CLOCK}{_ZONE}"), _named_date),
    (_compiled(rf"{_WEEKDAY}{_NAME}[ -]+(?P<d>\d{{1,2}}),?[ -]+(?P<y>\d{{4}}){_CLOCK}{_ZONE}"), _named_date),
    (_compiled(rf"{_YEAR}(?:[-/.M]?|-M)(?P<m>0[1-9]|1[0-2]|(?<=[-/.])[1-9])"), _month),
    (_compiled(rf"(?P<m>\d{{1,2}})[-/.]{_YEAR}"), _month),
    (_compiled(rf"{_NAME}[ -/']*(?P<y>\d{{4}}|\d\d)"), _named_month),
    (_compiled(rf"(?P<y>\d{{4}})[ -/]*{_NAME}"), _named_month),
    (_compiled(r"(?P<y>\d{4})[ :/-]*Q(?P<q>[1-4])"), _quarter),
    (_compiled(r"Q(?P<q>[1-4])[ :/-]*(?P<y>\d{4})"), _quarter),
    (_compiled(r"(?P<y>\d{4})[ -]?W(?P<w>\d{1,2})(?:-?(?P<d>[1-7]))?"), _week),
    (_compiled(rf"{_YEAR}"), _year),
)
_DAY_AND_MONTH = _compiled(rf"(?P<a>\d{{1,2}})([-/.])(?P<b>\d{{1,2}})\2(?P<c>\d{{4}}|\d\d){_CLOCK}{_ZONE}")
#: Which of the three numbers of `_DAY_AND_MONTH` are year, month and day.
_ORDERS: dict[str, tuple[str, str, str]] = {
    "day-first": ("c", "b", "a"),
    "month-first": ("c", "a", "b"),
    "year-first": ("a", "b", "c"),
}
ORDERS = tuple(_ORDERS)


def read_times(cells: Sequence[str], form: str = "") -> Times:
    """Read the times of a column, in the form that fits most of its cells.

    Args:
        form: "day-first", "month-first", "year-first", or a format of strptime such as `%d/%m/%Y %H:%M`; "" detects it.

    Raises:
        AmbiguousDates: day and month cannot be told apart.
    """
    texts = [cell.strip() for cell in cells]
    if "%" in form:
        return _times([_by_format(text, form) for text in texts])
    sample = [text for text in texts[:: max(1, len(texts) // _SAMPLE)] if not is_missing(text)] or texts[:1]
    counts = [sum(_by(each, text) is not None for text in sample) for each in _FORMS]
    num_numbers, most = sum(map(_is_number, sample)), max(counts)
    if form in _ORDERS or sum(_DAY_AND_MONTH.fullmatch(text) is not None for text in sample) > max(most, num_numbers):
        return _day_and_month(texts, form)
    if not most or most < num_numbers:
        return _numbers(texts)
    best = _FORMS[counts.index(most)]
    return _times([_by(best, text) or _any(text) for text in texts])


def is_a_date_column(cells: Sequence[str]) -> bool:
    """Whether nearly all cells are dates that could not be plain numbers."""
    texts = [cell.strip() for cell in cells[:_SAMPLE] if not is_missing(cell)]
    dates = [text for text in texts if not _is_number(text) and (_any(text) or _DAY_AND_MONTH.fullmatch(text))]
    return bool(texts) and len(dates) > 0.9 * len(texts)


def is_usual(steps: NDArray[np.float64], usual: float) -> NDArray[np.bool_]:
    """Mask of the time steps that are about as long as the usual one."""
    return np.asarray(np.abs(steps - usual) <= STEP_TOLERANCE * abs(usual))


def _day_and_month(texts: Sequence[str], form: str) -> Times:
    """Dates whose first two numbers are day and month, or month and day."""
    if form:
        return _times([_by_order(text, form) for text in texts])
    known = [found for text in texts if (found := _DAY_AND_MONTH.fullmatch(text))]
    if all("." in found[0][: found.start("c") - found.start(0)] for found in known):
        return _day_and_month(texts, "day-first")  # where dates have points, the day is first
    readings = {order: _times([_by_order(text, order) for text in texts]) for order in _ORDERS}
    fits = {order: int(np.isfinite(times.moments).sum()) for order, times in readings.items()}
    fitting = {order: readings[order] for order, fit in fits.items() if fit == max(fits.values())}
    regular = {order: times for order, times in fitting.items() if len(fitting) > 1 and _is_regular(times)}
    chosen = regular if len(regular) == 1 else fitting
    if len(chosen) > 1:
        shown = known[0][0]
        raise AmbiguousDates(f"{shown!r} can be read {' or '.join(chosen)}, and no other date decides it", chosen)
    return next(iter(chosen.values()))


def _is_regular(times: Times) -> bool:
    steps = np.diff(times.moments)
    return bool(len(steps) > 0 and (steps > 0).all() and is_usual(steps, float(np.median(steps))).all())


def _by(form: tuple[re.Pattern[str], _Parser], text: str) -> _Reading | None:
    found = form[0].fullmatch(text)
    return form[1](found) if found else None


def _any(text: str) -> _Reading | None:
    return next((reading for form in _FORMS if (reading := _by(form, text)) is not None), None)


def _by_order(text: str, order: str) -> _Reading | None:
    found = _DAY_AND_MONTH.fullmatch(text)
    if found is None:
        return None
    year, month, day = (found[group] for group in _ORDERS[order])
    if len(day) > 2 or len(year) == 1:
        return None
    return _moment(found, _full_year(year), int(month), int(day))


def _by_format(text: str, form: str) -> _Reading | None:
    try:
        found = datetime.strptime(text, form)  # noqa: DTZ007 - the form may have no zone
    except ValueError:
        return None
    has_clock = any(sign in form for sign in ("%H", "%I", "%s", "%T", "%X", "%c"))
    kind: Kind = "moment" if has_clock else "day"
    if "%d" not in form and "%j" not in form and kind == "day":
        kind = "month" if any(sign in form for sign in ("%m", "%b", "%B")) else "year"
    return (found if found.tzinfo else found.replace(tzinfo=UTC)), kind


def _moment(found: re.Match[str], year: int, month: int, day: int) -> _Reading | None:
    """The date with the clock and the zone of the match; a day if it has no clock. None if there is no such time."""
    parts = found.groupdict()
    half, hour = (parts.get("p") or "").lower(), int(parts.get("H") or 0)
    if half:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if half == "p" else 0)
    seconds = 3600 * hour + 60 * int(parts.get("M") or 0) + int(parts.get("S") or 0)
    if hour > 24 or seconds > 86400 or int(parts.get("M") or 0) > 59 or int(parts.get("S") or 0) > 60:
        return None
    try:
        start = datetime(year, month, day, tzinfo=_zone(parts.get("z")))
        fraction = float(f"0.{parts.get('f') or 0}")
        return start + timedelta(seconds=seconds + fraction), "day" if parts.get("H") is None else "moment"
    except (ValueError, OverflowError):
        return None


def _zone(text: str | None) -> timezone:
    if not text:  # not the machine's zone, on which the result must not depend
        return UTC
    if text.upper() in ("Z", "UTC", "GMT"):
        return _ZULU
    digits = text[1:].replace(":", "").ljust(4, "0")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(-offset if text[0] == "-" else offset, _NAMED)


#: Tells a zone that was written from the UTC that stands for none.
_NAMED = "written"
_ZULU = timezone(timedelta(0), _NAMED)


def _first_day(year: int, month: int, kind: Kind) -> _Reading | None:
    return (datetime(year, month, 1, tzinfo=UTC), kind) if 1 <= month <= 12 and year >= 1 else None


def _full_year(text: str) -> int:
    year = int(text)
    return year if len(text) > 2 else year + (2000 if year < _CENTURY_PIVOT else 1900)


def _times(readings: Sequence[_Reading | None]) -> Times:
    moments = np.array([math.nan if each is None else each[0].timestamp() for each in readings], dtype=np.float64)
    known = [each for each in readings if each is not None]
    kinds = [kind for _, kind in known]
    kind: Kind = "moment" if "moment" in kinds else max(set(kinds), key=kinds.count, default="number")
    last = known[-1][0] if known else None
    zone = last.tzinfo if last is not None else None
    is_zoned = zone is not None and zone.tzname(last) == _NAMED
    return Times(kind, moments, _seconds(zone.utcoffset(last)) if is_zoned and zone is not None else None)


def _seconds(offset: timedelta | None) -> int:
    return 0 if offset is None else int(offset.total_seconds())


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text)) and "_" not in text
    except ValueError:
        return False


def _numbers(texts: Sequence[str]) -> Times:
    """Epochs where all numbers are of our time, else numbers without a unit."""
    values = np.array([float(text) if _is_number(text) else math.nan for text in texts], dtype=np.float64)
    known = values[np.isfinite(values)]
    for kind, per_second in _EPOCHS.items():
        if len(known) and (known >= _EPOCH_FROM_S * per_second).all() and (known <= _EPOCH_TO_S * per_second).all():
            return Times(kind, values / per_second)
    return Times("number", values)
