"""Rate limit: the generic cell rate algorithm (GCRA), which is a token bucket kept as a single number.

The number is the time at which the bucket will be full again. Each unit moves it on by a sixtieth of a minute's share;
a unit may be taken while it lies less than a minute ahead. So a caller may use a minute's worth at once, and then goes
on at the mean rate. Nothing runs in the background, and a limit that changes keeps what was used as a share of it.
"""

from __future__ import annotations

WINDOW_S = 60.0
#: The last unit must not be refused because times are rounded.
_ROUNDING_S = 1e-6


class RateLimit:
    """How many units a minute may be taken. Times are `time.monotonic()`'s."""

    __slots__ = ("_full_at_s", "_spacing_s", "per_minute", "written")

    def __init__(self, per_minute: int) -> None:
        self._full_at_s = 0.0
        self.change(per_minute)

    def change(self, per_minute: int) -> None:
        """Another limit, from now on."""
        self.per_minute = per_minute
        #: As the value of a header.
        self.written = b"%d" % per_minute
        self._spacing_s = WINDOW_S / per_minute

    def wait_s(self, now_s: float) -> float:
        """How long until one unit may be taken; 0 or less: now."""
        return self._full_at_s - now_s + self._spacing_s - WINDOW_S - _ROUNDING_S

    def take(self, now_s: float, units: int = 1) -> None:
        """Count units, also beyond the limit: what is known only after the fact is owed, and waited for."""
        full_at_s = self._full_at_s
        self._full_at_s = (max(now_s, full_at_s)) + units * self._spacing_s

    def state(self, now_s: float) -> tuple[int, int]:
        """How many units may be taken now, and in how many milliseconds all of them may be."""
        used_s = self._full_at_s - now_s
        if used_s <= 0:
            return self.per_minute, 0
        left = int((WINDOW_S - used_s + _ROUNDING_S) / self._spacing_s) if used_s < WINDOW_S else 0
        return left, int(used_s * 1000) + 1
