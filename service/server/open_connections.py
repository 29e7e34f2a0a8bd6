"""The open connections of a service: their limits, and which of them makes room when there are too many.

What a client costs before its request is complete is bounded in three ways: by time, by the number of connections, and
by the bytes of request bodies that are held. Where there is no room, whoever has kept the service waiting longest goes
first, so that slow or silent clients cannot lock out others.
"""

from __future__ import annotations

import asyncio
import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from service.observability.metrics import Metrics

#: For which kind of room a connection was ended.
RoomReason = Literal["too_many_connections", "too_many_body_bytes"]
#: Why the service ended a connection.
EndReason = Literal["idle", "timeout", "refused", "too_many_connections", "too_many_body_bytes", "unread"]
END_REASONS: tuple[EndReason, ...] = (
    "idle", "timeout", "refused", "too_many_connections", "too_many_body_bytes", "unread",
)  # fmt: skip

#: A body that is declared no larger than this is not refused for what other bodies hold.
SMALL_BODY_BYTES = 64 * 1024

#: Share of the connections that is ended when one too many arrives: looking for them costs time.
_ENDED_AT_ONCE = 1 / 64
#: So many connections beyond the limit get a response before they are closed: this share, or this number.
_REFUSED_SHARE, _REFUSED_AT_LEAST = 0.1, 16
_MAX_CHECK_INTERVAL_S = 1.0
_CHECKS_IN_SHORTEST_LIMIT = 4


@dataclass(frozen=True)
class ConnectionLimits:
    """The limits of connections.

    Attributes:
        max_body_bytes: of one request.
        max_head_bytes: request line and headers.
        max_connections: open at once.
        max_held_body_bytes: bodies of all requests that are being received or answered.
        head_timeout_s: from the first byte of a request, or from the connection, to the end of its headers.
        body_timeout_s: how long a body may take at least; each received byte adds to it by `min_upload_bytes_per_s`.
        unread_timeout_s: how long a client may read nothing while responses wait to be sent.
        keep_alive_s: how long a connection may be idle between two requests.
        max_message_bytes: of one message of a WebSocket, and `max_text_message_bytes` if it is text.
        max_waiting_messages: of one WebSocket, before its socket is not read.
        message_timeout_s: how long a WebSocket may be silent while the service waits for its next message.
        ping_interval_s: between two pings of a WebSocket, within which something must come; 0: no pings.
    """

    max_body_bytes: int = 2 * 1024 * 1024
    max_head_bytes: int = 32 * 1024
    max_connections: int = 4096
    max_held_body_bytes: int = 128 * 1024 * 1024
    head_timeout_s: float = 10.0
    body_timeout_s: float = 10.0
    min_upload_bytes_per_s: int = 4096
    unread_timeout_s: float = 30.0
    keep_alive_s: float = 75.0
    max_message_bytes: int = 8 * 1024 * 1024
    max_text_message_bytes: int = 256 * 1024
    max_waiting_messages: int = 16
    message_timeout_s: float = 300.0
    ping_interval_s: float = 20.0

    @property
    def check_interval_s(self) -> float:
        """How often deadlines are looked at."""
        shortest_s = min(self.head_timeout_s, self.body_timeout_s)
        return min(_MAX_CHECK_INTERVAL_S, shortest_s / _CHECKS_IN_SHORTEST_LIMIT)


class Waiting(Protocol):
    """A connection.

    Attributes:
        deadline_s: when the service stops waiting for its client; infinite while it does not wait.
        allowed_s: how long the client was given by this deadline.
    """

    deadline_s: float
    allowed_s: float

    def end_late(self) -> None:
        """End it: the deadline has passed."""

    def end_for_room(self, reason: RoomReason) -> None:
        """End it: others need the room."""


@runtime_checkable
class Movable(Protocol):
    """A connection whose client can be asked to come again with a new one."""

    def move_on(self) -> bool:
        """Whether it closes after a response that says so."""


class OpenConnections:
    """All connections of one service. Use it in the event loop.

    `on_change` is called when their number has changed.
    """

    def __init__(self, limits: ConnectionLimits, metrics: Metrics) -> None:
        self.limits = limits
        #: Bytes of bodies that are being received or answered, and of requests that wait for their turn.
        self.body_bytes = 0
        self.on_change: Callable[[], None] = _nobody_asks
        #: In the order in which they came: the clock of the event loop may count no less than milliseconds.
        self._open: dict[Waiting, None] = {}
        #: Connections in the middle of a body; the one that has not grown for longest is the first.
        self._in_body: dict[Waiting, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._ended = {reason: metrics.connections_ended.labels(reason) for reason in END_REASONS}
        metrics.max_connections.set(limits.max_connections)
        metrics.max_held_body_bytes.set(limits.max_held_body_bytes)
        metrics.connections.set_function(lambda: len(self._open))
        metrics.held_body_bytes.set_function(lambda: self.body_bytes)

    def __len__(self) -> int:
        return len(self._open)

    def count_ended(self, reason: EndReason) -> None:
        """Count a connection that the service ends."""
        self._ended[reason].inc()

    def admit(self, connection: Waiting) -> Literal["admitted", "refused", "closed"]:
        """Whether a new connection may stay: others that wait for their clients make room for it.

        A refused one gets a response; a closed one does not.
        """
        self._open[connection] = None
        self.on_change()
        if self._timer is None:
            self._schedule_check(asyncio.get_running_loop())
        excess = len(self._open) - self.limits.max_connections
        if excess <= 0 or self._make_room(connection, excess):
            return "admitted"
        refused_up_to = max(_REFUSED_AT_LEAST, self.limits.max_connections * _REFUSED_SHARE)
        return "refused" if excess <= refused_up_to else "closed"

    def forget(self, connection: Waiting) -> None:
        """A connection has closed."""
        self._open.pop(connection, None)
        self._in_body.pop(connection, None)
        self.on_change()

    def move_on(self, num_connections: int) -> None:
        """Have some clients open a new connection after their response: other workers have fewer."""
        for connection in list(self._open) if num_connections > 0 else ():
            num_connections -= isinstance(connection, Movable) and connection.move_on()
            if num_connections <= 0:
                break

    def has_room_for(self, num_bytes: int) -> bool:
        """Whether a body of this declared length may be received; bodies that do not grow make room for it."""
        return self.make_room_for_bodies(num_bytes) or num_bytes <= SMALL_BODY_BYTES

    def make_room_for_bodies(self, num_bytes: int = 0) -> bool:
        """Whether all bodies together, and so many bytes more, are within the limit; those that do not grow end."""
        while self.body_bytes + num_bytes > self.limits.max_held_body_bytes:
            if not self._in_body:
                return False
            stalled = next(iter(self._in_body))
            del self._in_body[stalled]
            stalled.end_for_room("too_many_body_bytes")
        return True

    def note_body_grew(self, connection: Waiting) -> None:
        """A body is incomplete and has grown. If all bodies together are too large, those that do not grow end."""
        self._in_body.pop(connection, None)
        self._in_body[connection] = None
        self.make_room_for_bodies()

    def note_body_complete(self, connection: Waiting) -> None:
        """The body of a connection does not grow any more."""
        self._in_body.pop(connection, None)

    def _make_room(self, newest: Waiting, excess: int) -> bool:
        waiting = [one for one in self._open if one is not newest and one.deadline_s < math.inf]
        num_ended = max(excess, math.ceil(self.limits.max_connections * _ENDED_AT_ONCE))
        for one in heapq.nsmallest(num_ended, waiting, key=_waiting_since_s):
            one.end_for_room("too_many_connections")
        return len(waiting) >= excess

    def _schedule_check(self, loop: asyncio.AbstractEventLoop) -> None:
        planned_s = loop.time() + self.limits.check_interval_s
        self._timer = loop.call_at(planned_s, self._check, loop, planned_s)

    def _check(self, loop: asyncio.AbstractEventLoop, planned_s: float) -> None:
        """End the connections whose deadlines have passed."""
        now_s = loop.time()
        late_s = now_s - planned_s
        for connection in [one for one in self._open if one.deadline_s < math.inf]:
            if late_s > self.limits.check_interval_s:  # the service stood still, not the client
                connection.deadline_s += late_s
                connection.allowed_s += late_s  # it has waited as long as before, which decides who makes room
            elif connection.deadline_s <= now_s:
                connection.end_late()
        self._timer = None
        if self._open:
            self._schedule_check(loop)


def _nobody_asks() -> None:
    """The number of connections is of interest only among several workers."""


def _waiting_since_s(connection: Waiting) -> float:
    """When the wait began, and not when it would end: an idle connection may wait longest, and must not be kept for it.

    A body that makes progress counts as begun later.
    """
    return connection.deadline_s - connection.allowed_s
