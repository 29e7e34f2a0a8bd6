"""Cross-origin resource sharing (CORS): which pages of other origins may call the service from a browser."""

from __future__ import annotations

import re
from collections.abc import Iterable

from service.api.request_scope import Headers
from service.settings import SettingsError

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(\[[0-9a-f:.]+\]|[a-z0-9_]([a-z0-9._-]*[a-z0-9_])?)(:[0-9]{1,5})?")
_HEADER_NAMES = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~, -]{1,2000}")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_PREFLIGHT_IS_VALID_S = 600
#: A page may read these without being told, or reads them by other means.
_READ_ANYWAY = frozenset(
    (b"cache-control", b"connection", b"content-length", b"content-type", b"date", b"server", b"vary")
)


class Cors:
    """The headers of answers to pages of other origins.

    With a list of origins, the answer names the origin that asked; with `*` it names none, so that a browser refuses to
    send credentials along. Cookies and client certificates are for listed origins alone, and only if that is set.
    """

    def __init__(self, origins: frozenset[bytes], with_credentials: bool) -> None:
        """An empty set is any origin."""
        self._origins = origins
        self._with_credentials = with_credentials

    @classmethod
    def of(cls, setting: str, with_credentials: bool) -> Cors | None:
        """From `UNROLL_CORS_ORIGINS` and `UNROLL_CORS_CREDENTIALS`; None if there are none. Raises SettingsError."""
        origins = frozenset(_normal(name.strip()) for name in setting.split(",") if name.strip())
        if "*" in origins:
            if len(origins) > 1 or with_credentials:
                raise SettingsError(
                    "UNROLL_CORS_ORIGINS: * allows every page, so it stands alone and without UNROLL_CORS_CREDENTIALS; "
                    "list the origins instead"
                )
            return cls(frozenset(), False)
        if with_credentials and not origins:
            raise SettingsError("UNROLL_CORS_CREDENTIALS needs UNROLL_CORS_ORIGINS: it lists whose pages may send them")
        return cls(frozenset(origin.encode() for origin in origins), with_credentials) if origins else None

    def __contains__(self, origin: object) -> bool:
        """Whether pages of this origin may call, and may open a WebSocket, for which browsers ask nobody."""
        return isinstance(origin, str) and self._allows(origin.encode())

    def add_headers(self, request: Headers, response: list[tuple[bytes, bytes]]) -> None:
        """Add to the headers of a response what a browser looks for."""
        if self._origins:
            response.append((b"vary", b"Origin"))
        origin = _origin_of(request)
        if origin is None or not self._allows(origin):
            return
        exposed = {name for name, _ in response if name not in _READ_ANYWAY and not name.startswith(b"access-control-")}
        response.append((b"access-control-allow-origin", origin if self._origins else b"*"))
        if self._with_credentials:
            response.append((b"access-control-allow-credentials", b"true"))
        if exposed:
            response.append((b"access-control-expose-headers", b", ".join(sorted(exposed))))

    def preflight_headers(self, request: Headers, methods: Iterable[str]) -> dict[str, str]:
        """Further headers of the answer to a browser that asks before it sends a request; none for other origins."""
        asked = {name: value for name, value in request if name.startswith(b"access-control-request-")}
        origin = _origin_of(request)
        if b"access-control-request-method" not in asked or origin is None or not self._allows(origin):
            return {}
        headers = {
            "Access-Control-Allow-Methods": ", ".join(methods),
            "Access-Control-Max-Age": str(_PREFLIGHT_IS_VALID_S),
        }
        names = asked.get(b"access-control-request-headers", b"")
        if _HEADER_NAMES.fullmatch(names):
            headers["Access-Control-Allow-Headers"] = names.decode("ascii")
        return headers | {"Vary": "Access-Control-Request-Method, Access-Control-Request-Headers"}

    def _allows(self, origin: bytes) -> bool:
        return not self._origins or origin.lower() in self._origins


def _origin_of(request: Headers) -> bytes | None:
    return next((value for name, value in request if name == b"origin"), None)


def _normal(origin: str) -> str:
    """The origin as browsers send it."""
    if origin == "*":
        return origin
    origin = origin.lower()
    if not _ORIGIN.fullmatch(origin):
        raise SettingsError(
            f"UNROLL_CORS_ORIGINS: {origin!r} is not an origin; write https://app.example.com or "
            "http://localhost:3000, with the scheme and without a path, separated by commas"
        )
    return origin.removesuffix(_DEFAULT_PORTS.get(origin.partition(":")[0], "none"))
