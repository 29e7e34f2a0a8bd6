"""The measuring client of speech: a stream that the service ends is an error of the measurement, and ends it."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.conftest import PATIENCE_S
from tests.load.speech.live_stream import Heard, LiveStream

FAR_S = 1e9


def text_frame(message: dict[str, str]) -> bytes:
    """As a service writes it: short, and without a mask."""
    payload = json.dumps(message).encode()
    return bytes([0x81, len(payload)]) + payload


@pytest.mark.parametrize(
    ("last_words", "told"),
    [(text_frame({"type": "error", "error": "no room"}), "no room"), (b"", "the connection was lost")],
    ids=["error", "no word"],
)
def test_a_client_stops_where_the_service_ends_its_stream(last_words: bytes, told: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        await reader.readexactly(100)
        writer.write(last_words)
        writer.write_eof()
        await reader.read()  # closing with something unread would reset the connection, and lose the last words
        writer.close()

    async def stream() -> Heard:
        heard = Heard()
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            client = LiveStream(0, [bytes(1000)], heard, piece_bytes=100, piece_s=0.001)
            port = server.sockets[0].getsockname()[1]
            first_s = asyncio.get_running_loop().time()
            await asyncio.wait_for(client.run(port, "any", first_s + FAR_S, first_s), PATIENCE_S)
        return heard

    assert asyncio.run(stream()).errors == [told]
