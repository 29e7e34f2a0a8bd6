"""A WebSocket client that writes each byte itself, so that a test can break every rule of the protocol."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from tests.conftest import wait_until
from tests.live_server import Connection, LiveServer, request

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
CONTINUATION = 0
OFFER = {
    "connection": "keep-alive, Upgrade",
    "upgrade": "websocket",
    "sec_websocket_version": "13",
    "sec_websocket_key": "dGhlIHNhbXBsZSBub25jZQ==",
}
#: What the key above must be answered with (RFC 6455, section 1.3).
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
_MASK = b"\x11\x22\x33\x44"


def offer(**headers: str) -> bytes:
    """The request that asks for a WebSocket."""
    return request("GET", "/stream", **{**OFFER, **headers})


def frame(
    opcode: int, payload: bytes = b"", *, fin: bool = True, masked: bool = True, reserved: int = 0, length: int = -1
) -> bytes:
    """One frame; `length` is what it claims to have."""
    size = len(payload) if length < 0 else length
    head = bytes([fin << 7 | reserved << 4 | opcode])
    if size < 126:
        head += bytes([masked << 7 | size])
    elif size < 1 << 16:
        head += struct.pack("!BH", masked << 7 | 126, size)
    else:
        head += struct.pack("!BQ", masked << 7 | 127, size)
    if not masked:
        return head + payload
    return head + _MASK + bytes(byte ^ _MASK[place % 4] for place, byte in enumerate(payload))


def text(message: object) -> bytes:
    """A message of JSON."""
    return frame(TEXT, json.dumps(message).encode())


class Received(NamedTuple):
    opcode: int
    payload: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.payload)

    @property
    def close_code(self) -> int:
        assert self.opcode == CLOSE, self
        return int(struct.unpack("!H", self.payload[:2])[0])


class RawSocket(Connection):
    """A connection after its handshake."""

    def receive(self) -> Received:
        """The next frame of the service."""
        opcode, size = self._file.read(2)
        assert opcode & 0x80
        if size == 126:
            (size,) = struct.unpack("!H", self._file.read(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", self._file.read(8))
        return Received(opcode & 0xF, self._file.read(size))

    def say(self, message: object) -> Any:
        """Send a message, and return the answer."""
        self.send(text(message))
        return self.receive().json


@contextmanager
def open_socket(server: LiveServer, receive_bytes: int = 0) -> Iterator[RawSocket]:
    """A WebSocket of the server. At the end nothing of it is left there."""
    with RawSocket(server.port, receive_bytes) as connection:
        answer = connection.ask(offer())
        assert answer.status == 101
        assert answer.headers["sec-websocket-accept"] == ACCEPT
        yield connection
    wait_until(lambda: not len(server.app.open_connections))
    assert server.metric("unroll_held_body_bytes") == 0
    assert server.metric("unroll_stream_connections", protocol="websocket") == 0
