"""A WebSocket as a stream sees it: messages of the client, messages of the service, and the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Literal

from pydantic_core import to_json
from starlette.types import Message, Receive, Send

Received = str | bytes
Direction = Literal["in", "out"]
DIRECTIONS: tuple[Direction, ...] = ("in", "out")


class Left(Exception):
    """The client has left, or is leaving: nothing can be sent any more. `code` is its close code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Stopping(Exception):
    """The service stops: what came before is answered, and nothing comes after."""


class Channel:
    """Messages over ASGI. `num_messages` counts them by direction, `close_code` is the code of the end."""

    def __init__(self, receive: Receive, send: Send, count_message: Callable[[Direction], None]) -> None:
        self.num_messages: Counter[Direction] = Counter()
        self.close_code: int | None = None
        #: Whether the next message has come too, and is of bytes. Only our own server says so.
        self.more_bytes_wait = False
        self._count_message = count_message
        self._receive = receive
        self._send = send

    async def next_message(self) -> Received:
        """The next message of the client. Raises Left, Stopping."""
        event = await self._receive()
        if event["type"] == "websocket.disconnect":
            self.close_code = event.get("code", 1005)
            raise Left(self.close_code)
        if event["type"] == "websocket.stop":
            raise Stopping
        self._count("in")
        self.more_bytes_wait = event.get("more_bytes_wait", False)
        text = event.get("text")
        message: Received = event["bytes"] if text is None else text
        return message

    async def send(self, body: dict[str, Any]) -> None:
        """Write one message, as fast as the client reads. Raises Left."""
        await self._write({"type": "websocket.send", "text": to_json(body).decode("utf-8")})
        self._count("out")

    async def close(self, code: int, reason: str = "") -> None:
        """End the connection. Raises Left if the client was faster."""
        await self._write({"type": "websocket.close", "code": code, "reason": reason})
        self.close_code = code

    def _count(self, direction: Direction) -> None:
        self.num_messages[direction] += 1
        self._count_message(direction)

    async def _write(self, message: Message) -> None:
        try:
            await self._send(message)
        except OSError as error:  # what servers raise when the client has left
            self.close_code = self.close_code or 1006
            raise Left(self.close_code) from error
