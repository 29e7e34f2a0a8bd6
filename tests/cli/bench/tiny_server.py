"""A minimal HTTP server whose answers a test decides: number of the request -> bytes, or None for no answer at all."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import cast

from service.cli.bench.load.address import Address
from tests.conftest import until

#: Head of the request, its number -> the answer; b"" closes the connection.
Handler = Callable[[str, int], Awaitable[bytes]]


def answer(content: bytes = b"{}", status: int = 200, headers: str = "") -> bytes:
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n%s\r\n%s" % (status, len(content), headers.encode(), content)


class _Conversation(asyncio.Protocol):
    """One connection; requests come one after the other."""

    def __init__(self, handler: Handler, count: Iterator[int], open_ones: set[_Conversation]) -> None:
        self._handler, self._count, self._open_ones = handler, count, open_ones
        self._received = b""
        self._answering: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._open_ones.add(self)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, content = self._received.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
        if separator and len(content) >= length:
            self._received = b""
            self._answering = asyncio.get_running_loop().create_task(self._answer(head.decode("latin-1")))

    async def _answer(self, head: str) -> None:
        content = await self._handler(head, next(self._count))
        self.transport.write(content)
        if not content or b"Connection: close" in content:
            self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._open_ones.discard(self)
        if self._answering is not None:
            self._answering.cancel()


@asynccontextmanager
async def serving(handler: Handler, port: int = 0, tls: ssl.SSLContext | None = None) -> AsyncIterator[Address]:
    """Answer requests in this event loop."""
    count, open_ones = iter(range(1_000_000)), set[_Conversation]()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Conversation(handler, count, open_ones), "127.0.0.1", port, ssl=tls)
    try:
        yield Address("127.0.0.1", server.sockets[0].getsockname()[1])
    finally:
        server.close()
        await asyncio.sleep(0)  # those who have just connected
        for each in list(open_ones):
            each.transport.abort()
        await until(lambda: not open_ones)
        await asyncio.sleep(0)


@contextmanager
def serving_in_a_thread(handler: Handler) -> Iterator[Address]:
    """The same beside a test that has no event loop."""
    found: list[Address] = []
    is_up, stop = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with serving(handler) as address:
            found.append(address)
            is_up.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    is_up.wait()
    try:
        yield found[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
