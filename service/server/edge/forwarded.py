"""Requests as their clients sent them, where proxies stand between: scheme, host, client and path prefix.

Links, redirects and the addresses in `/docs` are made of these. A proxy that shows the service under a path may keep
the prefix in what it passes on, or remove it: both are understood.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from starlette.types import ASGIApp, Receive, Scope, Send

from service.server.edge.forwarded_header import forwarded_elements
from service.server.edge.trusted_proxies import TrustedProxies
from service.settings import SettingsError

#: Parts of a prefix go into pages and redirects, so they are plain.
_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)*")
_HOST = re.compile(rb"[A-Za-z0-9.:\[\]_-]{1,253}")
_MAX_PREFIX_CHARACTERS = 200
_SCHEMES = (b"http", b"https")
_NOTHING: Mapping[str, str] = MappingProxyType({})


def root_path_of(setting: str) -> str:
    """The prefix of all paths from `UNROLL_ROOT_PATH`, without a slash at its end. Raises SettingsError."""
    path = setting.strip().rstrip("/")
    if not _is_prefix(path):
        raise SettingsError(
            f"UNROLL_ROOT_PATH: {setting!r} is not the beginning of a path; write /unroll or /models/unroll"
        )
    return path


def without_prefix(path: str, root_path: str) -> str:
    """The path in the service; empty for the prefix alone."""
    if root_path and path.startswith(root_path) and path[len(root_path) : len(root_path) + 1] in ("", "/"):
        return path[len(root_path) :]
    return path


class ForwardedScope:
    """Tells an ASGI application where its client sees it. Changes the scope in place, as routing does."""

    def __init__(self, app: ASGIApp, proxies: TrustedProxies, root_path: str) -> None:
        self._app = app
        self._proxies = proxies
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; its path is that in the service."""
        if scope["type"] == "http":
            root_path = self._root_path
            peer, port = scope.get("client") or ("", 0)
            if peer and self._proxies.trusts(peer):
                root_path = self._note_forwarded(scope)
                client = self._proxies.client_of(peer, scope["headers"])
                scope["client"] = (client, port if client == peer else 0)
            if root_path:
                scope["root_path"] = root_path
                scope["path"] = root_path + scope["path"]
                scope["raw_path"] = scope["path"].encode()
        await self._app(scope, receive, send)

    def _note_forwarded(self, scope: Scope) -> str:
        """Take over scheme and host, and return the prefix."""
        found = {name: _last(value) for name, value in scope["headers"] if name.startswith(b"x-forwarded-")}
        nearest = next(iter(forwarded_elements(scope["headers"])), _NOTHING)
        scheme = (found.get(b"x-forwarded-proto") or nearest.get("proto", "").encode("latin-1")).lower()
        host = found.get(b"x-forwarded-host") or nearest.get("host", "").encode("latin-1")
        if scheme in _SCHEMES:
            scope["scheme"] = scheme.decode()
        if _HOST.fullmatch(host):
            scope["headers"] = [(b"host", host), *(header for header in scope["headers"] if header[0] != b"host")]
        prefix = found.get(b"x-forwarded-prefix", b"").decode("latin-1").rstrip("/")
        return prefix if prefix and _is_prefix(prefix) else self._root_path


def _last(value: bytes) -> bytes:
    """What the nearest proxy wrote, if there is a list."""
    return value.rpartition(b",")[2].strip()


def _is_prefix(path: str) -> bool:
    return len(path) <= _MAX_PREFIX_CHARACTERS and _PREFIX.fullmatch(path) is not None
