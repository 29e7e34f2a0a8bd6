"""Open-loop load: requests arrive in a Poisson process, independent of earlier answers.

Latency counts from when a request should have been sent, so a server that stalls cannot hide it by keeping the client
waiting ("coordinated omission").
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Iterator

from tests.load.client.closed_loop import GRACE_S
from tests.load.client.connection import Connection, connect
from tests.load.client.tally import OK, Reply, Tally

#: Open requests at a time; later arrivals wait in the client, and that wait counts as latency.
MAX_CONNECTIONS = 2_000
_SPIN_S = 0.002


def arrival_times(rate: float, start_s: float, end_s: float, seed: int = 1) -> Iterator[float]:
    """Return Poisson arrival times at `rate` per second: the intervals are exponential."""
    rng = random.Random(seed)
    now = start_s + rng.expovariate(rate)
    while now < end_s:
        yield now
        now += rng.expovariate(rate)


class OpenLoop:
    """A load of bounded duration, like `ClosedLoop`; arrivals in the first `warm_s` are not counted."""

    def __init__(self, tally: Tally, port: int, rate: float, warm_s: float, seconds: float) -> None:
        self._tally = tally
        self._port = port
        self._start_s = time.perf_counter() + 0.2
        self._begin_s = self._start_s + warm_s
        self._end_s = self._begin_s + seconds
        self._arrivals = arrival_times(rate, self._start_s, self._end_s)
        self._due: deque[float] = deque()
        self._idle: list[Connection] = []
        self._waiting: set[Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._num_connections = 0
        self._num_asked = 0
        self._num_counted = 0
        self._latest_start_s = 0.0
        self._answered_within = 0

    async def run(self) -> dict[str, float]:
        """Return the figures of the loop itself; all others are in the tally."""
        for arrival_s in self._arrivals:
            await self._wait_until(arrival_s)
            self._num_counted += arrival_s >= self._begin_s
            self._due.append(arrival_s)
            self._send_due()
        await self._drain()
        unanswered = [*self._due, *(connection.started_s for connection in self._waiting)]
        longest_wait_s = time.perf_counter() - min(unanswered) if unanswered else 0.0
        for connection in [*self._idle, *self._waiting]:
            connection.close()
        return {
            "longest_wait_ms": longest_wait_s * 1000,
            "unanswered": len(unanswered),
            "offered": self._num_counted,
            "goodput": self._answered_within / (self._end_s - self._begin_s),
            "latest_start_ms": self._latest_start_s * 1000,
            "connections": self._num_connections,
        }

    async def _wait_until(self, arrival_s: float) -> None:
        """Timers are accurate to a millisecond, so the last part is a busy wait; replies are read meanwhile."""
        left_s = arrival_s - time.perf_counter()
        if left_s > _SPIN_S:
            await asyncio.sleep(left_s - _SPIN_S)
        await asyncio.sleep(0)
        while time.perf_counter() < arrival_s:  # noqa: ASYNC110 - it waits for a time, not for an event
            await asyncio.sleep(0)

    async def _drain(self) -> None:
        give_up_s = time.perf_counter() + GRACE_S
        while (self._waiting or self._due) and time.perf_counter() < give_up_s:  # noqa: ASYNC110 - bounded by time
            await asyncio.sleep(0.01)

    def _send_due(self) -> None:
        while self._due and self._idle:
            self._ask(self._idle.pop(), self._due.popleft())
        missing = min(len(self._due), MAX_CONNECTIONS - self._num_connections)
        for _ in range(missing):
            self._num_connections += 1
            self._opening.add(asyncio.get_running_loop().create_task(self._open(self._due.popleft())))

    async def _open(self, arrival_s: float) -> None:
        try:
            self._ask(await connect(self._port, self._on_reply, self._on_lost), arrival_s)
        except OSError as error:
            self._num_connections -= 1
            self._tally.fail(f"no connection: {error}")

    def _ask(self, connection: Connection, arrival_s: float) -> None:
        number = self._num_asked % len(self._tally.questions)
        self._num_asked += 1
        self._latest_start_s = max(self._latest_start_s, time.perf_counter() - arrival_s)
        self._waiting.add(connection)
        connection.ask(self._tally.questions[number].payload, number, arrival_s)

    def _on_reply(self, connection: Connection, reply: Reply) -> None:
        self._tally.note(connection.number, reply, connection.started_s >= self._begin_s)
        self._answered_within += reply.status == OK and self._begin_s <= time.perf_counter() < self._end_s
        self._waiting.discard(connection)
        # Not from within the parser, which is still processing the reply.
        asyncio.get_running_loop().call_soon(self._free, connection)

    def _free(self, connection: Connection) -> None:
        self._idle.append(connection)
        self._send_due()

    def _on_lost(self, connection: Connection, what: str) -> None:
        self._num_connections -= 1
        self._waiting.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if time.perf_counter() < self._end_s:
            self._tally.fail(what)
