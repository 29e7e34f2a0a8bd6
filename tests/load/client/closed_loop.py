"""Closed-loop load: a fixed number of callers, each sending its next request after the answer. Measures capacity."""

from __future__ import annotations

import asyncio
import contextlib
import time

from tests.load.client.connection import Connection, connect
from tests.load.client.tally import Reply, Tally

#: Time limit for outstanding answers after the load has ended.
GRACE_S = 10.0


class ClosedLoop:
    """A load of bounded duration: requests for `warm_s + seconds`, then at most `GRACE_S` for the last answers."""

    def __init__(self, tally: Tally, port: int, connections: int, warm_s: float, seconds: float) -> None:
        self._tally = tally
        self._port = port
        self._num_connections = connections
        self._begin_s = time.perf_counter() + warm_s
        self._end_s = self._begin_s + seconds
        self._next = 0
        self._waiting: set[Connection] = set()
        self._reconnecting: set[asyncio.Task[None]] = set()
        self._all_answered = asyncio.Event()

    async def run(self) -> dict[str, float]:
        """Return the figures of the loop itself; all others are in the tally."""
        for _ in range(self._num_connections):
            self._ask(await connect(self._port, self._on_reply, self._on_lost))
        await asyncio.sleep(self._end_s - time.perf_counter())
        now = time.perf_counter()
        # Waiting times of unanswered requests, which the latencies of answers do not show.
        longest_wait_s = max((now - connection.started_s for connection in self._waiting), default=0.0)
        await self._drain()
        for connection in self._waiting:
            connection.close()
        return {"longest_wait_ms": longest_wait_s * 1000, "unanswered": len(self._waiting)}

    async def _drain(self) -> None:
        if self._waiting:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._all_answered.wait(), GRACE_S)

    def _ask(self, connection: Connection) -> None:
        number = self._next % len(self._tally.questions)
        self._next += 1
        self._waiting.add(connection)
        connection.ask(self._tally.questions[number].payload, number, time.perf_counter())

    def _on_reply(self, connection: Connection, reply: Reply) -> None:
        now = time.perf_counter()
        self._tally.note(connection.number, reply, self._begin_s <= now < self._end_s)
        if now < self._end_s:
            # Not from within the parser, which is still processing the reply. The connection counts as waiting until
            # then, or the run could end in between and miss its answer.
            asyncio.get_running_loop().call_soon(self._ask, connection)
        else:
            self._waiting.discard(connection)
            connection.close()
            self._note_end()

    def _on_lost(self, connection: Connection, what: str) -> None:
        self._tally.fail(what)
        self._waiting.discard(connection)
        if time.perf_counter() < self._end_s:
            self._reconnecting.add(asyncio.get_running_loop().create_task(self._reconnect()))
        self._note_end()

    def _note_end(self) -> None:
        if not self._waiting and time.perf_counter() >= self._end_s:
            self._all_answered.set()

    async def _reconnect(self) -> None:
        await asyncio.sleep(0.1)
        try:
            self._ask(await connect(self._port, self._on_reply, self._on_lost))
        except OSError as error:
            self._tally.fail(f"no connection: {error}")
