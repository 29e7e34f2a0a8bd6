"""Which web pages may open a stream. Browsers open a WebSocket for every page, whatever site it comes from.

A page of another site could thereby use a service that only its visitor can reach (cross-site WebSocket hijacking).
Browsers say in `Origin` where the page comes from; other programs send none.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from urllib.parse import urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}


def is_allowed_origin(headers: Iterable[tuple[bytes, bytes]], allowed: Container[str] = ()) -> bool:
    """Whether a request comes from no page, from one of the service's own host, or from one of the `allowed` origins.

    These are such as `https://example.org`.
    """
    values = [(name, value.decode("latin-1").strip()) for name, value in headers if name in (b"origin", b"host")]
    origins = [value for name, value in values if name == b"origin"]
    hosts = [value for name, value in values if name == b"host"]
    if not origins:
        return True
    return len(origins) == 1 and (origins[0].lower() in allowed or _is_same_host(origins[0], hosts))


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
