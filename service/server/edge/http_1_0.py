"""Answers to HTTP/1.0 clients: never in chunks, and over the same connection where the client asks for that.

What has no length, such as a stream, ends with the connection instead.
"""

from __future__ import annotations

from typing import Any

from starlette.types import Message, Send

_WITHOUT_BODY = (204, 304)


class PlainSend:
    """`send` of a cycle of uvicorn for an HTTP/1.0 client. Assign it to the cycle before its application runs."""

    def __init__(self, cycle: Any, keep_alive: bool) -> None:
        """`keep_alive`: the client asks to keep the connection."""
        self._cycle = cycle
        self._send: Send = cycle.send
        self._has_length = True
        cycle.keep_alive = keep_alive

    async def __call__(self, message: Message) -> None:
        """Send one ASGI message."""
        cycle = self._cycle
        if message["type"] == "http.response.start":
            names = {name.lower() for name, _ in message.get("headers", ())}
            is_empty = message["status"] in _WITHOUT_BODY or cycle.scope["method"] == "HEAD"
            self._has_length = b"content-length" in names or is_empty
            if not self._has_length:
                cycle.keep_alive, cycle.chunked_encoding = False, False
            elif cycle.keep_alive:
                message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"keep-alive")]}
        elif not self._has_length:
            cycle.expected_content_length = len(message.get("body", b""))  # each part is as long as announced
        await self._send(message)
