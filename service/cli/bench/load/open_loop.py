"""Open-loop load: requests arrive in a Poisson process, independent of earlier answers.

Latency counts from when a request should have been sent, so a server that stalls cannot hide it by keeping the client
waiting ("coordinated omission").
"""

from __future__ import annotations

import asyncio
import math
import random
from array import array
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from service.cli.bench.load.address import Address
from service.cli.bench.load.connection import Answered, Connection, Lost, Reply, connect, reason
from service.cli.bench.load.tally import OK, Tally, milliseconds
from service.cli.bench.load.window import Window

#: Open requests at a time; later arrivals wait in the client, and that wait counts as latency.
MAX_CONNECTIONS = 2_000
_START_S = 0.2

Opener = Callable[[Address, Answered, Lost], Awaitable[Connection]]


def arrival_times(rate: float, start_s: float, end_s: float, seed: int = 1) -> Iterator[float]:
    """Return Poisson arrival times at `rate` per second: the intervals are exponential."""
    rng = random.Random(seed)
    now = start_s + rng.expovariate(rate)
    while now < end_s:
        yield now
        now += rng.expovariate(rate)


class OpenLoop:
    """A load of bounded duration, like `ClosedLoop`; arrivals during the warm-up are not counted."""

    def __init__(
        self, tally: Tally, address: Address, rate: float, window: Window, seed: int = 1, opener: Opener = connect
    ) -> None:
        self._tally = tally
        self._address = address
        self._window = window
        self._opener = opener
        # The first connections take a moment to open, which the first arrivals should not wait for.
        self._arrivals = arrival_times(rate, window.start_s + _START_S, math.inf, seed)
        self._due: deque[float] = deque()
        self._idle: list[Connection] = []
        self._waiting: set[Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._num_connections = 0
        self._num_asked = 0
        self._num_counted = 0
        #: How much later than intended requests were sent.
        self._late_s = array("d")
        self._answered_within = 0

    @property
    def in_flight(self) -> int:
        """Requests that should have been sent and are not answered."""
        return len(self._waiting) + len(self._due) + len(self._opening)

    async def run(self) -> dict[str, Any]:
        """Return the figures of the loop itself; all others are in the tally."""
        arriving = asyncio.get_running_loop().create_task(self._arrive())
        await self._window.wait_for_end()
        arriving.cancel()
        await self._window.drain(lambda: self.in_flight)
        now, seconds = self._window.clock.now(), self._window.measured_s
        waiting = [] if self._window.is_stopped else [*self._due, *(each.started_s for each in self._waiting)]
        for task in self._opening:
            task.cancel()
        for connection in [*self._idle, *self._waiting]:
            connection.close()
        return {
            "longest_wait_ms": (now - min(waiting)) * 1000 if waiting else 0.0,
            "unanswered": len(waiting),
            "offered": self._num_counted,
            "goodput": self._answered_within / seconds if seconds else 0.0,
            **{f"late_{name}": value for name, value in milliseconds("", self._late_s).items()},
            "connections": self._num_connections,
        }

    async def _arrive(self) -> None:
        for arrival_s in self._arrivals:
            await self._window.clock.until(arrival_s)
            if not self._window.take(arrival_s):
                break
            self._num_counted += arrival_s >= self._window.begin_s
            self._due.append(arrival_s)
            self._send_due()
            if not self._window.is_open:
                break
        self._note_end()

    def _send_due(self) -> None:
        while self._due and self._idle:
            self._ask(self._idle.pop(), self._due.popleft())
        missing = min(len(self._due), MAX_CONNECTIONS - self._num_connections)
        for _ in range(missing):
            self._num_connections += 1
            task = asyncio.get_running_loop().create_task(self._open(self._due.popleft()))
            self._opening.add(task)
            task.add_done_callback(self._opened)

    async def _open(self, arrival_s: float) -> None:
        try:
            self._ask(await self._opener(self._address, self._on_reply, self._on_lost), arrival_s)
        except OSError as error:
            self._num_connections -= 1
            self._tally.fail(f"no connection: {reason(error)}")

    def _opened(self, task: asyncio.Task[None]) -> None:
        self._opening.discard(task)
        self._note_end()

    def _ask(self, connection: Connection, arrival_s: float) -> None:
        number = self._num_asked % len(self._tally.payloads)
        self._num_asked += 1
        self._late_s.append(self._window.clock.now() - arrival_s)
        self._waiting.add(connection)
        connection.ask(self._tally.payloads[number], number, arrival_s)

    def _on_reply(self, connection: Connection, reply: Reply) -> None:
        begin_s = self._window.begin_s
        self._tally.note(connection.number, reply, connection.started_s >= begin_s)
        self._answered_within += reply.status == OK and self._window.counts(connection.started_s)
        # Not from within the parser, which is still processing the reply.
        asyncio.get_running_loop().call_soon(self._free if reply.keeps_alive else self._drop, connection)

    def _free(self, connection: Connection) -> None:
        self._waiting.discard(connection)
        self._idle.append(connection)
        self._send_due()
        self._note_end()

    def _drop(self, connection: Connection) -> None:
        """The server closes this connection after its answer."""
        self._num_connections -= 1
        self._waiting.discard(connection)
        connection.close()
        self._send_due()
        self._note_end()

    def _on_lost(self, connection: Connection, what: str) -> None:
        self._num_connections -= 1
        if connection in self._waiting:
            self._waiting.discard(connection)
            self._tally.fail(what)
        else:
            self._idle.remove(connection)  # the server closes what is idle for long
        self._note_end()

    def _note_end(self) -> None:
        if not self._window.is_open and not self.in_flight:
            self._window.finish()
