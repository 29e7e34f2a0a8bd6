"""A keep-alive HTTP/1.1 connection with one outstanding request, directly on asyncio's transport."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import httptools

from service.cli.bench.load.address import Address
from service.errors import UnrollError

CONNECT_LIMIT_S = 5.0


@dataclass(frozen=True)
class Reply:
    """One HTTP answer: its latency runs from when the request was sent, or from when it should have been.

    Attributes:
        pieces: arrival in seconds after the start, and content, of each piece of the body.
        keeps_alive: whether the connection takes another request.
    """

    status: int
    body: bytes
    latency_s: float
    has_retry_after: bool
    pieces: list[tuple[float, bytes]] = field(default_factory=list)
    keeps_alive: bool = True


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
        self._pieces: list[tuple[float, bytes]] = []
        self._has_retry_after = False
        self._closing = False
        self._waits = False

    def ask(self, payload: bytes, number: int, started_s: float) -> None:
        """Send one request; its latency is counted from `started_s` on `time.perf_counter()`'s clock."""
        assert self._transport is not None
        self.number, self.started_s = number, started_s
        self._parser = httptools.HttpResponseParser(self)
        self._pieces = []
        self._has_retry_after = False
        self._waits = True
        self._transport.write(payload)

    def close(self) -> None:
        """Close the connection, even with a request outstanding."""
        self._closing = True
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if not self._waits:
            self._end("an answer that was not asked for")
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._end(f"unreadable HTTP: {error}")

    def connection_lost(self, error: Exception | None) -> None:
        self._end("connection lost" if error is None else f"connection lost: {reason(error)}")

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"retry-after" and value:
            self._has_retry_after = True

    def on_body(self, body: bytes) -> None:
        self._pieces.append((time.perf_counter() - self.started_s, body))

    def on_message_complete(self) -> None:
        latency_s = time.perf_counter() - self.started_s
        self._waits = False
        body = b"".join(piece for _, piece in self._pieces)
        status, keeps_alive = self._parser.get_status_code(), bool(self._parser.should_keep_alive())
        self._answered(self, Reply(status, body, latency_s, self._has_retry_after, self._pieces, keeps_alive))

    def _end(self, what: str) -> None:
        if not self._closing:
            self._closing = True
            self._lost(self, what)
        if self._transport is not None:
            self._transport.close()


async def connect(address: Address, answered: Answered, lost: Lost) -> Connection:
    """Open a connection. Raises OSError, or TimeoutError after five seconds."""
    opening = asyncio.get_running_loop().create_connection(
        lambda: Connection(answered, lost), address.host, address.port, ssl=address.tls
    )
    _, connection = await asyncio.wait_for(opening, CONNECT_LIMIT_S)
    return connection


async def fetch(address: Address, payload: bytes, limit_s: float = 60.0) -> Reply:
    """The answer to one request on a connection of its own. Raises UnrollError if there is none."""
    found: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

    def lost(_: Connection, what: str) -> None:
        if not found.done():
            found.set_exception(OSError(what))

    try:
        connection = await connect(address, lambda _, reply: found.set_result(reply), lost)
        try:
            connection.ask(payload, 0, time.perf_counter())
            return await asyncio.wait_for(found, limit_s)
        finally:
            connection.close()
    except (OSError, UnicodeError) as error:  # the latter for a host that no name can be
        raise UnrollError(f"{address.url}: {reason(error)}") from error


def reason(error: Exception) -> str:
    """Why a connection failed, in the same words each time."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or error}"
    if isinstance(error, TimeoutError):
        return "no answer within the time limit"
    if isinstance(error, OSError) and error.errno and error.errno > 0:
        return os.strerror(error.errno).lower()
    return str(error) or type(error).__name__
