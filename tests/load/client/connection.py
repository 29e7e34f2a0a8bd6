"""A keep-alive HTTP/1.1 connection with one outstanding request, directly on asyncio's transport."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import cast

import httptools

from tests.load.client.tally import Reply

Answered = Callable[["Connection", Reply], None]
Lost = Callable[["Connection", str], None]


class Connection(asyncio.Protocol):
    """Calls `answered` with each reply, and `lost` once if the connection ends before `close` was called."""

    def __init__(self, answered: Answered, lost: Lost) -> None:
        self.number = -1
        self.started_s = 0.0
        self._answered = answered
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._body: list[bytes] = []
        self._has_retry_after = False
        self._closing = False

    def ask(self, payload: bytes, number: int, started_s: float) -> None:
        """Send one request; its latency is counted from `started_s` on `time.perf_counter()`'s clock."""
        assert self._transport is not None
        self.number, self.started_s = number, started_s
        self._parser = httptools.HttpResponseParser(self)
        self._body.clear()
        self._has_retry_after = False
        self._transport.write(payload)

    def close(self) -> None:
        """Close the connection, even with a request outstanding."""
        self._closing = True
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._end(f"unreadable HTTP: {error}")

    def connection_lost(self, error: Exception | None) -> None:
        self._end(f"connection lost: {error!r}")

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"retry-after" and value:
            self._has_retry_after = True

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        latency_s = time.perf_counter() - self.started_s
        status = self._parser.get_status_code()
        self._answered(self, Reply(status, b"".join(self._body), latency_s, self._has_retry_after))

    def _end(self, what: str) -> None:
        if not self._closing:
            self._closing = True
            self._lost(self, what)
        if self._transport is not None:
            self._transport.close()


async def connect(port: int, answered: Answered, lost: Lost) -> Connection:
    """Open a connection to 127.0.0.1. Raises OSError, or TimeoutError after five seconds."""
    opening = asyncio.get_running_loop().create_connection(lambda: Connection(answered, lost), "127.0.0.1", port)
    _, connection = await asyncio.wait_for(opening, 5.0)
    return connection
