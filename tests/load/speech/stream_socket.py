"""A WebSocket client for many streams in one thread: frames are written and read with next to no work."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import struct
from collections.abc import Callable
from typing import Any, cast

Message = dict[str, Any]

_TEXT, _BINARY, _CLOSE, _PING, _PONG = 1, 2, 8, 9, 10
_FINAL, _MASKED = 0x80, 0x80
_SHORT, _MEDIUM = 126, 127
#: A mask of zeros leaves the payload as it is.
_NO_MASK = bytes(4)


def frame_of(payload: bytes, opcode: int = _BINARY) -> bytes:
    """One frame of a client."""
    size = len(payload)
    if size < _SHORT:
        head = struct.pack("!BB", _FINAL | opcode, _MASKED | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", _FINAL | opcode, _MASKED | _SHORT, size)
    else:
        head = struct.pack("!BBQ", _FINAL | opcode, _MASKED | _MEDIUM, size)
    return head + _NO_MASK + payload


class StreamSocket(asyncio.Protocol):
    """One connection of `/stream`. `on_message` gets each message of the service; `on_end` is called once."""

    def __init__(self, on_message: Callable[[Message], None], on_end: Callable[[], None]) -> None:
        self._on_message, self._on_end = on_message, on_end
        self._unread = bytearray()
        self._is_open = False
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @classmethod
    async def connect(
        cls, port: int, on_message: Callable[[Message], None], on_end: Callable[[], None]
    ) -> StreamSocket:
        """An open connection. Raises ConnectionError."""
        loop = asyncio.get_running_loop()
        _, socket = await loop.create_connection(lambda: cls(on_message, on_end), "127.0.0.1", port)
        await socket.opened
        return socket

    def say(self, message: Message) -> None:
        self._transport.write(frame_of(json.dumps(message).encode(), _TEXT))

    def send_bytes(self, payload: bytes) -> None:
        self._transport.write(frame_of(payload))

    def close(self) -> None:
        self._transport.close()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        key = base64.b64encode(os.urandom(16)).decode()
        self._transport.write(
            f"GET /stream HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        self._unread += data
        if not self._is_open:
            self._read_head()
        while self._is_open and (frame := self._next_frame()) is not None:
            self._take(*frame)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_exception(ConnectionError(bytes(self._unread[:200]).decode("latin-1") or "closed"))
        self._on_end()

    def _read_head(self) -> None:
        head, end, rest = self._unread.partition(b"\r\n\r\n")
        if not end:
            return
        if not head.startswith(b"HTTP/1.1 101"):
            self._transport.close()
            return
        self._unread, self._is_open = rest, True
        self.opened.set_result(None)

    def _next_frame(self) -> tuple[int, bytes] | None:
        """Opcode and payload of the next whole frame. The service sends each message as one frame."""
        unread = self._unread
        if len(unread) < 2:
            return None
        size, start = unread[1] & 0x7F, 2
        if size >= _SHORT:
            start = 4 if size == _SHORT else 10
            if len(unread) < start:
                return None
            size = int.from_bytes(unread[2:start], "big")
        if len(unread) < start + size:
            return None
        opcode, payload = unread[0] & 0x0F, bytes(unread[start : start + size])
        del unread[: start + size]
        return opcode, payload

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode == _TEXT:
            self._on_message(json.loads(payload))
        elif opcode == _PING:
            self._transport.write(frame_of(payload, _PONG))
        elif opcode == _CLOSE:
            self._transport.close()
