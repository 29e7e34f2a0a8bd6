"""Server-sent events: a response that ends when its client disconnects, and always releases its resources."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

from starlette.responses import Response
from starlette.types import Receive, Scope, Send


class EventStream(Response):
    """Writes frames as they become ready, and closes `resources` at the end, whatever ends it.

    `on_leave` is called when the client disconnects; it must make `frames` end. A slow client delays only its own
    stream.
    """

    media_type = "text/event-stream"

    def __init__(self, frames: AsyncIterator[bytes], resources: AsyncExitStack, on_leave: Callable[[], None]) -> None:
        super().__init__(headers={"X-Accel-Buffering": "no", "Cache-Control": "no-cache"})
        del self.headers["content-length"]
        self._frames = frames
        self._resources = resources
        self._on_leave = on_leave

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
