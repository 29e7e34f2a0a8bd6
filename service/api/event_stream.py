"""Server-sent events: a response that ends when its client disconnects, and always releases its resources."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from functools import lru_cache
from typing import Protocol

from pydantic_core import to_json
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

#: Texts of events whose JSON is kept: those of tokens come again and again.
_KEPT_TEXTS = 8192

#: The JSON of a text.
json_text = lru_cache(maxsize=_KEPT_TEXTS)(to_json)


class FrameWriter(Protocol):
    """A connection to which frames can be written at once, without a message and a task for each."""

    @property
    def is_ready(self) -> bool:
        """Whether the client is there, and has read enough of what was written."""
        ...

    def write_frame(self, frame: bytes) -> None: ...


class Outlet:
    """Where `frames` of a stream may write a frame at once, instead of yielding it, while it waits for the next.

    It is never ready where the server is given messages of ASGI, before the head has been written, or while the client
    reads too slowly: then the frame has to be yielded.
    """

    def __init__(self) -> None:
        self._writer: FrameWriter | None = None

    @property
    def is_ready(self) -> bool:
        """Whether a frame can be written at once."""
        return self._writer is not None and self._writer.is_ready

    def open(self, writer: FrameWriter) -> None:
        """The connection is known."""
        self._writer = writer

    def write(self, frame: bytes) -> None:
        """Write a frame; only while it is ready."""
        assert self._writer is not None, "it was ready"
        self._writer.write_frame(frame)


class EventStream(Response):
    """Writes frames as they become ready, and closes `resources` at the end, whatever ends it.

    `on_leave` is called when the client disconnects; it must make `frames` end. A slow client delays only its own
    stream. Frames that `frames` writes to `outlet` do not pass through here.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        frames: AsyncIterator[bytes],
        resources: AsyncExitStack,
        on_leave: Callable[[], None],
        outlet: Outlet | None = None,
    ) -> None:
        super().__init__(headers={"X-Accel-Buffering": "no", "Cache-Control": "no-cache"})
        del self.headers["content-length"]
        self._frames = frames
        self._resources = resources
        self._on_leave = on_leave
        self._outlet = outlet

    def open_outlet(self, writer: FrameWriter) -> None:
        """Let frames be written to the connection at once."""
        if self._outlet is not None:
            self._outlet.open(writer)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the head, every frame, and the end of the body."""
        watching = asyncio.create_task(self._watch(receive))
        async with self._resources:
            try:
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                async for frame in self._frames:
                    await send({"type": "http.response.body", "body": frame, "more_body": True})
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            finally:
                watching.cancel()

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._on_leave()
