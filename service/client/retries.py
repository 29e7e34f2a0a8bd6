"""When a call is repeated, and after which pause: exponential backoff with full jitter, and `Retry-After`."""

from __future__ import annotations

import math
import random
import time
from asyncio import sleep as sleep_async
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from time import sleep

from service.client.errors import ClientError, ConnectionFailed, TimedOut

#: Statuses of a service or a gateway that may answer the next time: busy, starting, stopping.
BUSY = frozenset({429, 502, 503, 504})


@dataclass(frozen=True)
class Retries:
    """How often a call is repeated, and how long the pauses are.

    A pause is drawn evenly from 0 to `first_pause_s` * 2 ^ n, at most `longest_pause_s` (full jitter), so that callers
    who were refused together do not come back together. A longer `Retry-After` of the service is waited for. A pause
    that would go beyond the timeout of the call is not begun: the error is raised at once.

    Attributes:
        times: how often a call is repeated at most; 0 never.
        first_pause_s: seconds.
        longest_pause_s: seconds; limits the drawn pause, not `Retry-After`.
        connections: whether to try again where no connection could be made. False fails at once.
    """

    times: int = 5
    first_pause_s: float = 0.5
    longest_pause_s: float = 8.0
    connections: bool = True

    def __post_init__(self) -> None:
        if self.times < 0 or not 0 <= self.first_pause_s <= self.longest_pause_s:
            raise ValueError("times is 0 or more, and 0 <= first_pause_s <= longest_pause_s")


def retries_of(told: Retries | int | None) -> Retries:
    """As a caller says it: how often and when, or only how often; None is the default."""
    if told is None or isinstance(told, Retries):
        return told or Retries()
    if isinstance(told, bool) or not isinstance(told, int):
        raise TypeError(f"retries is a number, or Retries(...), and no {type(told).__name__}")
    return Retries(times=told)


class Deadline:
    """The end of a call, all attempts and pauses together; None is never."""

    def __init__(self, timeout_s: float | None) -> None:
        self._end_s = None if timeout_s is None else time.monotonic() + timeout_s

    @property
    def remaining_s(self) -> float:
        """Seconds that are left, 0 at least; infinity without a timeout."""
        return math.inf if self._end_s is None else max(0.0, self._end_s - time.monotonic())


class Attempts:
    """The attempts of one call."""

    def __init__(self, retries: Retries, deadline: Deadline) -> None:
        self.deadline = deadline
        self._retries = retries
        self._num_failed = 0

    def pause_s(self, error: ClientError, repeatable: bool) -> float:
        """How long to wait before the next attempt, in seconds. Raises the error if there is none.

        `repeatable`: the call may be sent again although the service may have received it.
        """
        if self._num_failed >= self._retries.times or not self._may_pass_next_time(error, repeatable):
            raise error
        limit_s = min(self._retries.longest_pause_s, self._retries.first_pause_s * 2.0 ** min(self._num_failed, 30))
        pause_s = max(random.uniform(0.0, limit_s), error.retry_after_s or 0.0)
        if pause_s >= self.deadline.remaining_s:
            raise error
        self._num_failed += 1
        return pause_s

    def wait(self, error: ClientError, repeatable: bool) -> None:
        """Wait for the next attempt. Raises the error if there is none."""
        sleep(self.pause_s(error, repeatable))

    async def wait_async(self, error: ClientError, repeatable: bool) -> None:
        """The same for asyncio."""
        await sleep_async(self.pause_s(error, repeatable))

    def progressed(self, deadline: Deadline) -> None:
        """A stream brought something new: failures before it no longer count, and its time begins anew."""
        self._num_failed, self.deadline = 0, deadline

    def _may_pass_next_time(self, error: ClientError, repeatable: bool) -> bool:
        if isinstance(error, ConnectionFailed):
            return repeatable if error.was_sent else self._retries.connections
        return repeatable and (error.status in BUSY or isinstance(error, TimedOut))


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """The header Retry-After in seconds from now: a number or an HTTP date. None if there is none that can be read."""
    text = headers.get("retry-after", "").strip()
    try:
        seconds = float(text)
    except ValueError:
        return _seconds_until(text)
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _seconds_until(text: str) -> float | None:
    try:
        then = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if then.tzinfo is None:
        then = then.replace(tzinfo=UTC)
    return max(0.0, (then - datetime.now(UTC)).total_seconds())
