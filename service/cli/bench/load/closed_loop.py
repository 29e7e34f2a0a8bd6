"""Closed-loop load: a fixed number of callers, each sending its next request after the answer. Measures capacity."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from service.cli.bench.load.address import Address
from service.cli.bench.load.connection import Connection, Reply, connect, reason
from service.cli.bench.load.tally import Tally
from service.cli.bench.load.window import Window

#: Pauses before a lost connection is opened again, the last one for every further attempt.
_PAUSES_S = (0.1, 0.2, 0.5, 1.0)


class ClosedLoop:
    """A load of bounded duration: requests within the window, then some time for the last answers."""

    def __init__(self, tally: Tally, address: Address, connections: int, window: Window) -> None:
        self._tally = tally
        self._address = address
        self._num_connections = connections
        self._window = window
        self._next = 0
        self._waiting: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def in_flight(self) -> int:
        """Requests that are being answered."""
        return len(self._waiting)

    async def run(self) -> dict[str, Any]:
        """Return the figures of the loop itself; all others are in the tally."""
        for _ in range(self._num_connections):
            self._start(self._connect())
        await self._window.wait_for_end()
        now = self._window.clock.now()
        # Waiting times of unanswered requests, which the latencies of answers do not show.
        longest_wait_s = max((now - connection.started_s for connection in self._waiting), default=0.0)
        await self._window.drain(lambda: self.in_flight)
        for task in self._tasks:
            task.cancel()
        for connection in self._waiting:
            connection.close()
        return {"longest_wait_ms": longest_wait_s * 1000, "unanswered": self._unanswered}

    @property
    def _unanswered(self) -> int:
        """An interrupted load leaves its last requests; that is no fault of the server."""
        return 0 if self._window.is_stopped else len(self._waiting)

    def _start(self, opening: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(opening)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self) -> None:
        """Open one connection, again and again while the server refuses it."""
        attempt = 0
        while self._window.is_open:
            try:
                self._ask(await connect(self._address, self._on_reply, self._on_lost))
                return
            except OSError as error:
                self._tally.fail(f"no connection: {reason(error)}")
                await asyncio.sleep(_PAUSES_S[min(attempt, len(_PAUSES_S) - 1)])
                attempt += 1
        self._note_end()

    def _ask(self, connection: Connection) -> None:
        now = self._window.clock.now()
        if not self._window.take(now):
            self._waiting.discard(connection)
            connection.close()
            self._note_end()
            return
        number = self._next % len(self._tally.payloads)
        self._next += 1
        self._waiting.add(connection)
        connection.ask(self._tally.payloads[number], number, now)

    def _on_reply(self, connection: Connection, reply: Reply) -> None:
        self._tally.note(connection.number, reply, self._window.counts(connection.started_s))
        # Not from within the parser, which is still processing the reply. The connection counts as waiting until
        # then, or the run could end in between and miss its answer.
        again = self._ask if reply.keeps_alive else self._replace
        asyncio.get_running_loop().call_soon(again, connection)

    def _replace(self, connection: Connection) -> None:
        """Go on with another connection, as the server closes this one."""
        self._waiting.discard(connection)
        connection.close()
        self._start(self._connect())

    def _on_lost(self, connection: Connection, what: str) -> None:
        self._tally.fail(what)
        self._waiting.discard(connection)
        if self._window.is_open:
            self._start(self._reconnect())
        self._note_end()

    async def _reconnect(self) -> None:
        await asyncio.sleep(_PAUSES_S[0])
        await self._connect()

    def _note_end(self) -> None:
        if not self._waiting and not self._window.is_open:
            self._window.finish()
