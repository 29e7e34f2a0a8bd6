"""Host names that the service answers for. Other names are those of a page that points its own name here.

A browser sends what such a page asks for as if the service were that page's own server (DNS rebinding). The address of
the connection itself is always right: probes use it, and no page can have it as its name.
"""

from __future__ import annotations

import re

from service.api.error_table import Failure
from service.api.request_scope import Headers
from service.server.edge.forwarded_header import forwarded_elements
from service.server.edge.trusted_proxies import TrustedProxies
from service.server.request_head import Refused
from service.settings import SettingsError

_NAME = re.compile(r"(\*\.)?[a-z0-9_]([a-z0-9._-]*[a-z0-9_])?|\[[0-9a-f:.]+\]")
_MAX_SHOWN_CHARACTERS = 100


class HostCheck:
    """Refuses requests for other hosts."""

    def __init__(self, names: frozenset[str], proxies: TrustedProxies) -> None:
        """A name that begins with `*.` stands for all names below it."""
        self._names = frozenset(name for name in names if not name.startswith("*."))
        self._endings = tuple(name[1:] for name in names if name.startswith("*."))
        self._proxies = proxies

    @classmethod
    def of(cls, setting: str, proxies: TrustedProxies) -> HostCheck | None:
        """From `UNROLL_ALLOWED_HOSTS`; None if every host is right. Raises SettingsError."""
        names = frozenset(name.strip().lower() for name in setting.split(",") if name.strip())
        for name in names - {"*"}:
            if not _NAME.fullmatch(name):
                raise SettingsError(
                    f"UNROLL_ALLOWED_HOSTS: {name!r} is not a host name; write api.example.com or *.example.com, "
                    "without scheme and port, separated by commas"
                )
        return None if not names or "*" in names else cls(names, proxies)

    def check(self, headers: Headers, peer: str, own_address: str) -> None:
        """Raises Refused, with 421, if the request is for another host. A trusted proxy may say for which it is."""
        found = {name: value for name, value in headers if name in (b"host", b"x-forwarded-host")}
        host = found.get(b"host")
        if self._proxies.trusts(peer):
            host = _forwarded_host(found.get(b"x-forwarded-host"), headers) or host
        if host is None:  # HTTP/1.0 without a host: no browser sends that
            return
        name = _without_port(host.strip().lower().decode("latin-1"))
        if name in self._names or name.endswith(self._endings) or name.strip("[]") == own_address:
            return
        shown = name[:_MAX_SHOWN_CHARACTERS]
        message = f"the host {shown!r} is not served here: UNROLL_ALLOWED_HOSTS has the names that are"
        raise Refused(Failure(421, "misdirected_request", message))


def _forwarded_host(of_header: bytes | None, headers: Headers) -> bytes:
    """What the nearest proxy says; empty if it does not."""
    if of_header is not None:
        return of_header.rpartition(b",")[2]
    return next((element.get("host", "") for element in forwarded_elements(headers)), "").encode("latin-1")


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0].rstrip(".")
