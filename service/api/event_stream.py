"""Server-sent events that end when their reader leaves, and that always give back what they used."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

from starlette.responses import Response
from starlette.types import Receive, Scope, Send


class EventStream(Response):
    """Writes frames as they come. What `resources` holds is closed at the end, whatever the end is.

    `on_leave` is called when the reader hangs up: it has to let `frames` come to its end. A reader who reads slowly
    stops the writing here and nothing else.
    """

    media_type = "text/event-stream"

    def __init__(self, frames: AsyncIterator[bytes], resources: AsyncExitStack, on_leave: Callable[[], None]) -> None:
        super().__init__(headers={"X-Accel-Buffering": "no", "Cache-Control": "no-cache"})
        del self.headers["content-length"]
        self._frames = frames
        self._resources = resources
        self._on_leave = on_leave

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Write every frame, then the end."""
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
