"""HEAD and OPTIONS, which follow from the other methods of a path.

HEAD is GET without the body. OPTIONS says which methods a path takes; a browser asks with it before it sends a request
of a page of another origin.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.validation.unknown_path import methods_at
from service.server.edge.cors import Cors

#: What routing leaves in the scope.
_ROUTING = ("endpoint", "route", "path_params")


class ImpliedMethods:
    """Answers HEAD and OPTIONS for an application whose routes have neither."""

    def __init__(self, app: ASGIApp, routes: Sequence[BaseRoute], cors: Cors | None) -> None:
        """`routes` are all routes behind the application."""
        self._app = app
        self._routes = routes
        self._cors = cors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        method = scope["method"] if scope["type"] == "http" else ""
        if method == "HEAD":
            await self._answer_head(scope, receive, send)
        elif method == "OPTIONS" and (methods := methods_at(scope, self._routes)):
            scope["endpoint"] = None  # the path is known: it is not reported as unmatched
            if "GET" in methods:
                methods.insert(1, "HEAD")
            methods.append("OPTIONS")
            headers = {"Allow": ", ".join(methods)}
            if self._cors is not None:
                headers |= self._cors.preflight_headers(scope["headers"], methods)
            await Response(headers=headers)(scope, receive, send)  # its length is 0
        else:
            await self._app(scope, receive, send)

    async def _answer_head(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The answer to GET, without its body."""
        as_get = {**scope, "method": "GET"}

        async def without_body(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        try:
            await self._app(as_get, receive, without_body)
        finally:
            scope.update({name: as_get[name] for name in _ROUTING if name in as_get})
