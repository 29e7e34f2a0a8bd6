"""Look-back, horizon and season of a forecaster, from the time step of its series and the number of its rows."""

from __future__ import annotations

from typing import Any, NamedTuple

from service.errors import UnrollError
from service.tasks.inputs.time_steps import TimeStep
from training.data.split import DEV_FRACTION

_MINUTE_S, _HOUR_S, _DAY_S = 60.0, 3600.0, 86_400.0
_YEAR_S = 365.25 * _DAY_S
#: Fewer rows have too few windows to learn from, with one of them kept as dev.
MIN_ROWS = 10


class Window(NamedTuple):
    """Sizes in rows, as the table `[network]` of a recipe names them; a period of 0 is none."""

    look_back: int
    horizon: int
    segment: int
    period: int


#: A day from a week of hours, where the step is unknown.
_HOURS = Window(look_back=168, horizon=24, segment=24, period=24)
_WORKDAYS = Window(look_back=60, horizon=10, segment=5, period=5)
_DAYS = Window(look_back=56, horizon=14, segment=7, period=7)
_WEEKS = Window(look_back=104, horizon=8, segment=4, period=52)
_MONTHS = Window(look_back=36, horizon=12, segment=12, period=12)
_QUARTERS = Window(look_back=16, horizon=4, segment=4, period=4)
_YEARS = Window(look_back=20, horizon=4, segment=2, period=0)
_SHORT_STEPS = Window(look_back=96, horizon=24, segment=24, period=0)


def window_of(step: TimeStep | None, num_rows: int) -> Window:
    """The window that suits a step, made smaller for a short series.

    A tenth of the rows is dev, and must hold a forecast; half of the others stay for windows to start at.

    Raises:
        UnrollError: the series is too short.
    """
    if num_rows < MIN_ROWS:
        raise UnrollError(f"a series of {num_rows} rows is too short to learn from: at least {MIN_ROWS} are needed")
    wanted = _of_step(step)
    num_dev = max(1, round(num_rows * DEV_FRACTION))
    horizon = min(wanted.horizon, num_dev)
    segment = min(wanted.segment, horizon)
    most = max(segment, (num_rows - num_dev - horizon) // 2)
    return Window(segment * (min(wanted.look_back, most) // segment), horizon, segment, wanted.period)


def _of_step(step: TimeStep | None) -> Window:
    if step is None or step.unit == "number":
        return _HOURS
    if step.unit == "workday":
        return _WORKDAYS
    if step.unit == "month":
        return {1: _MONTHS, 3: _QUARTERS, 12: _YEARS}.get(int(step.length), _few_a_year(step))
    return _of_seconds(step)


def _of_seconds(step: TimeStep) -> Window:
    day, length_s = round(_DAY_S / step.length), step.length
    if length_s < 15 * _MINUTE_S:
        return _SHORT_STEPS
    if length_s < _HOUR_S:
        segment = max(1, day // 4)
        return Window(look_back=12 * segment, horizon=day, segment=segment, period=day)
    if length_s < _DAY_S:
        horizon = max(day, 8)
        return Window(look_back=7 * day, horizon=horizon, segment=day, period=day)
    if length_s == _DAY_S:
        return _DAYS
    return _WEEKS if 6 * _DAY_S <= length_s <= 8 * _DAY_S else _few_a_year(step)


def _few_a_year(step: TimeStep) -> Window:
    return Window(look_back=24, horizon=4, segment=2, period=round(_YEAR_S / (step.seconds or _YEAR_S)))


def explain(step: TimeStep | None, network: Any) -> str:
    """What a forecaster looks at and forecasts, in rows, as a sentence.

    `network` has `look_back`, `horizon` and `period`.
    """
    rows = f"steps of {step}" if step is not None else "no regular time step"
    season = f", with a season of {network.period}" if network.period else ""
    return (
        f"Found {rows}: forecasts {network.horizon} rows from the {network.look_back} before them{season}; "
        "--set network.horizon=..., network.look_back=... and network.period=... change that."
    )
