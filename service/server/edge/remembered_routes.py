"""Routes of the framework, found at once where the same path was asked for before.

The framework asks its routes one after the other whether they match, which takes longer than a probe needs in all.
"""

from __future__ import annotations

import copy

from fastapi import APIRouter
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

#: Clients choose the paths, so there is a bound on what is remembered.
_MAX_PATHS, _MAX_PATH_CHARACTERS = 512, 256
_METHODS = frozenset({"GET"})


class RememberedRoutes:
    """An ASGI application in place of a router's own: the first route that matches answers, as there."""

    def __init__(self, router: APIRouter, app: ASGIApp) -> None:
        """`app` is the router's own application. The routes must not change from now on."""
        self._router = router
        self._app = app
        #: For each path the same router with a single route.
        self._found: dict[tuple[str, str], APIRouter] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["method"] not in _METHODS:
            await self._app(scope, receive, send)
            return
        key = scope.get("root_path", ""), scope["path"]
        router = self._found.get(key) or self._find(key, scope)
        if router is None:
            await self._app(scope, receive, send)
            return
        scope.setdefault("router", self._router)
        await router.app(scope, receive, send)

    def _find(self, key: tuple[str, str], scope: Scope) -> APIRouter | None:
        """The router with nothing but the first route that matches; None if none does."""
        for route in self._router.routes:
            if route.matches(scope)[0] is Match.FULL:
                router = copy.copy(self._router)
                router.routes = [route]
                return self._kept(key, router)
        return None

    def _kept(self, key: tuple[str, str], router: APIRouter) -> APIRouter:
        if sum(map(len, key)) <= _MAX_PATH_CHARACTERS:
            if len(self._found) >= _MAX_PATHS:
                self._found.clear()
            self._found[key] = router
        return router


def remember_routes(router: APIRouter) -> None:
    """Make a router remember which of its routes answers which path."""
    router.middleware_stack = RememberedRoutes(router, router.middleware_stack)
