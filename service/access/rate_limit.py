"""Rate limit: the generic cell rate algorithm (GCRA), which is a token bucket kept as a single number.

The number is the time at which the bucket will be full again. Each unit moves it on by a sixtieth of a minute's share;
a unit may be taken while it lies less than a minute ahead. So a caller may use a minute's worth at once, and then goes
on at the mean rate. Nothing runs in the background, and a limit that changes keeps what was used as a share of it.
"""

from __future__ import annotations

Headers = list[tuple[bytes, bytes]]

WINDOW_S = 60.0
#: The last unit must not be refused because times are rounded.
_ROUNDING_S = 1e-6


class RateLimit:
    """How many units a minute may be taken. Times are `time.monotonic()`'s."""

    __slots__ = (
        "_full_at_s",
        "_left",
        "_left_header",
        "_limit_header",
        "_names",
        "_reset_header",
        "_reset_ms",
        "_spacing_s",
        "per_minute",
    )

    def __init__(self, per_minute: int, kind: str = "requests") -> None:
        """`kind` is what the units are called in response headers."""
        self._names = [f"x-ratelimit-{what}-{kind}".encode("ascii") for what in ("limit", "remaining", "reset")]
        self._full_at_s = 0.0
        self._left = self._reset_ms = -1
        self._left_header = self._reset_header = (b"", b"")
        self.change(per_minute)

    def change(self, per_minute: int) -> None:
        """Another limit, from now on."""
        self.per_minute = per_minute
        self._limit_header = self._names[0], b"%d" % per_minute
        self._spacing_s = WINDOW_S / per_minute

    def wait_s(self, now_s: float) -> float:
        """How long until one unit may be taken; 0 or less: now."""
        return self._full_at_s - now_s + self._spacing_s - WINDOW_S - _ROUNDING_S

    def take(self, now_s: float, units: int = 1) -> None:
        """Count units, also beyond the limit: what is known only after the fact is owed, and waited for."""
        self._full_at_s = max(now_s, self._full_at_s) + units * self._spacing_s

    def take_one(self, now_s: float) -> float:
        """Take one unit if it may be taken now, and return 0; else how long until then."""
        full_at_s = self._full_at_s
        if full_at_s <= now_s:
            self._full_at_s = now_s + self._spacing_s
            return 0.0
        wait_s = full_at_s - now_s + self._spacing_s - WINDOW_S - _ROUNDING_S
        if wait_s > 0:
            return wait_s
        self._full_at_s = full_at_s + self._spacing_s
        return 0.0

    def state(self, now_s: float) -> tuple[int, int]:
        """How many units may be taken now, and in how many milliseconds all of them may be."""
        used_s = self._full_at_s - now_s
        if used_s <= 0:
            return self.per_minute, 0
        left = int((WINDOW_S - used_s + _ROUNDING_S) / self._spacing_s) if used_s < WINDOW_S else 0
        return left, int(used_s * 1000) + 1

    def headers(self, now_s: float) -> Headers:
        """The limit and its state as response headers, in the form that OpenAI's clients read."""
        left, reset_ms = self.per_minute, 0
        if self._full_at_s > now_s:
            left, reset_ms = self.state(now_s)
        if left != self._left:  # a number is written once for as long as it stays
            self._left, self._left_header = left, (self._names[1], f"{left}".encode())
        if reset_ms != self._reset_ms:
            self._reset_ms, self._reset_header = reset_ms, (self._names[2], f"{reset_ms}ms".encode())
        return [self._limit_header, self._left_header, self._reset_header]
