"""Health probes that find all well, answered without the framework: load balancers ask every replica every second.

Whatever else there is to say, and every unusual form of the same request, is left to the routes of the framework.
"""

from __future__ import annotations

import logging

from service.api.request_record import REQUEST_ID_HEADER, KnownHeaders, request_id_of
from service.api.request_scope import Headers
from service.api.routes.health import live_health, ready_health
from service.api.routes.playground import SECURITY_HEADERS
from service.api.schemas import Health
from service.inference.engines.registry import Registry

_ID_LINE = f"{REQUEST_ID_HEADER.lower()}: ".encode()


class Probes:
    """The answers of `GET /health/live` and `GET /health/ready`, as the framework's routes would write them."""

    def __init__(self, registry: Registry, max_run_s: float) -> None:
        """A run that takes longer than `max_run_s` is stuck; see `Health.standstill`."""
        self._registry = registry
        self._max_run_s = max_run_s
        self._live, self._ready = _parts(Health(status="live")), _parts(Health(status="ready"))
        self._logger = logging.getLogger("service.requests")

    def answer(self, path: str, headers: Headers) -> bytes | None:
        """What follows the headers that every response with status 200 has; None if the framework must answer."""
        if path == "/health/live":
            health, parts = live_health(self._registry, self._max_run_s), self._live
        elif path == "/health/ready":
            health, parts = ready_health(self._registry), self._ready
        else:
            return None
        if health.reasons or self._logger.isEnabledFor(logging.DEBUG):  # the latter logs probes
            return None
        return request_id_of(KnownHeaders.of(headers).request_id).encode().join(parts)


def _parts(health: Health) -> tuple[bytes, bytes]:
    """The response before and after the id of the request."""
    body = health.model_dump_json()
    lines = {"content-length": str(len(body)), "content-type": "application/json"}
    lines |= {name.lower(): value for name, value in SECURITY_HEADERS.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return head.encode() + _ID_LINE, f"\r\n\r\n{body}".encode()
