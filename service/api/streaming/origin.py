"""Which web pages may open a stream. Browsers send the cookies and the network of their user along with every page's.

A page of another site could otherwise use a service that only its visitor can reach (cross-site WebSocket hijacking).
Programs that are no browsers send no Origin.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException

_DEFAULT_PORTS = {"http": 80, "https": 443}


def require_allowed_origin(headers: Iterable[tuple[bytes, bytes]], allowed: Container[str] = ()) -> None:
    """Accept pages of the service's own host, and of the `allowed` origins such as `https://example.org`.

    Raises:
        HTTPException: 403.
    """
    values = [(name, value.decode("latin-1").strip()) for name, value in headers if name in (b"origin", b"host")]
    origins = [value for name, value in values if name == b"origin"]
    hosts = [value for name, value in values if name == b"host"]
    if not origins:
        return
    if len(origins) == 1 and (origins[0].lower() in allowed or _is_same_host(origins[0], hosts)):
        return
    shown = origins[0][:200]
    raise HTTPException(403, f"pages of {shown} may not open a stream here: only pages of this service may")


def _is_same_host(origin: str, hosts: list[str]) -> bool:
    try:
        page = urlsplit(origin)
        scheme = page.scheme.lower()
        default = _DEFAULT_PORTS.get(scheme)
        if default is None or len(hosts) != 1:
            return False
        own = urlsplit(f"//{hosts[0]}")
        return page.hostname is not None and (page.hostname, page.port or default) == (
            own.hostname,
            own.port or default,
        )
    except ValueError:  # a port that is none
        return False
