"""Times of a forecast: those that follow the times of the frames, by their own step or that of the model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from service.errors import InvalidInput
from service.tasks.inputs.time_steps import TimeStep, following, step_of, step_of_text
from service.tasks.inputs.times import AmbiguousDates, Times, read_times

_TIMES = ("times",)


def future_times(given: Sequence[str], num_frames: int, step: str, horizon: int) -> tuple[str, ...]:
    """The `horizon` times after the last of `given`, in ISO 8601; numbers and epochs stay numbers.

    Args:
        given: times of the last frames, the earliest first: of all of them, or of fewer. The last one is enough if the
            model knows its step, else two are.
        step: of the model, as `TimeStep` spells it; "" if it is unknown.

    Raises:
        InvalidInput: there are more times than frames, one is no time, they do not increase, or their step is not
            the model's.
    """
    if len(given) > num_frames:
        raise InvalidInput(f"there are {len(given)} times for {num_frames} frames", _TIMES)
    try:
        return _after(given, _read(given), step_of_text(step), horizon)
    except (OverflowError, ValueError) as error:  # of datetime, before year 1 or after 9999
        raise InvalidInput("these times, or those that follow, are out of the range of the calendar", _TIMES) from error


def _after(given: Sequence[str], times: Times, known: TimeStep | None, horizon: int) -> tuple[str, ...]:
    _require_increasing(given, times)
    own = step_of(times)
    if own is None and known is None:
        raise InvalidInput(
            "one time does not tell the step from frame to frame: give those of two frames or more", _TIMES
        )
    if own is not None and known is not None and not own.is_like(known):
        raise InvalidInput(f"the step of the times is {own}, this model was trained on steps of {known}", _TIMES)
    return tuple(following(times, _fitting(known, own, times), horizon))


def _read(given: Sequence[str]) -> Times:
    try:
        times = read_times(given)
    except AmbiguousDates as error:
        raise InvalidInput(f"{error}: write times as 2024-01-31 or 2024-01-31T10:00:00", _TIMES) from error
    if not np.isfinite(times.moments).all():
        index = int(np.isfinite(times.moments).argmin())
        raise InvalidInput(f"{given[index]!r} is not a time; write 2024-01-31T10:00:00", (*_TIMES, index))
    return times


def _require_increasing(given: Sequence[str], times: Times) -> None:
    back = np.flatnonzero(np.diff(times.moments) <= 0)
    if len(back):
        index = int(back[0]) + 1
        raise InvalidInput(f"{given[index]} does not come after {given[index - 1]}", (*_TIMES, index))


def _fitting(known: TimeStep | None, own: TimeStep | None, times: Times) -> TimeStep:
    """The step of the model if it is known: a few times alone may hide weekends and the lengths of months."""
    step = known or own
    assert step is not None
    is_number = times.kind == "number"
    if is_number != (step.unit == "number"):
        found, wanted = ("numbers", "dates") if is_number else ("dates", "plain numbers")
        raise InvalidInput(f"the times are {found}, this model was trained on {wanted}", _TIMES)
    return step
