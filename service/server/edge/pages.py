"""Answers of the framework (pages, lists, metrics) on their way out: security headers, and compression on request."""

from __future__ import annotations

import re

from starlette.datastructures import MutableHeaders
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.routes.playground import SECURITY_HEADERS

_REFUSES_GZIP = re.compile(rb"gzip\s*;\s*q=0(\.0*)?\s*(,|$)")
_MIN_COMPRESSED_BYTES = 1024
#: A sixth of the time of the highest level for a few percent more bytes.
_LEVEL = 5
#: From this size on, compressing takes longer than a change of threads.
_IN_THREAD_BYTES = 16 * 1024


class Secured:
    """Adds the security headers of the page to every answer that has none of its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""

        async def secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message.setdefault("headers", []))
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, secured)


class Compressed:
    """Compresses answers with gzip where the client accepts it, large ones outside of the event loop."""

    def __init__(self, app: ASGIApp) -> None:
        self._compressing = GZipMiddleware(
            app, minimum_size=_MIN_COMPRESSED_BYTES, compresslevel=_LEVEL, thread_minimum_size=_IN_THREAD_BYTES
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":  # the library reads no weights
            scope["headers"] = [
                (name, value)
                for name, value in scope["headers"]
                if name != b"accept-encoding" or not _REFUSES_GZIP.search(value.lower())
            ]
        await self._compressing(scope, receive, send)
