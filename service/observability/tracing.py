"""Open the tracer, configured by OpenTelemetry's standard environment variables."""

from __future__ import annotations

import logging
import os

from service.observability.spans import Tracer
from service.settings import SettingsError

logger = logging.getLogger(__name__)

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_SPOKEN = "http/protobuf"


def open_tracer(version: str) -> Tracer | None:
    """A tracer for this version of the service, if an endpoint is set and tracing is not disabled.

    Raises:
        SettingsError: OpenTelemetry is not installed, or the protocol is not OTLP over HTTP.
    """
    endpoint = _first_set(_ENDPOINTS)
    if not endpoint or _is("OTEL_SDK_DISABLED", "true") or _is("OTEL_TRACES_EXPORTER", "none"):
        return None
    protocol = _first_set(_PROTOCOLS)
    if protocol and not _is(protocol, _SPOKEN):
        raise SettingsError(f"{protocol}: spans are sent by {_SPOKEN} only")
    try:
        from service.observability.otel_tracer import open_sdk_tracer
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"{endpoint} is set, but OpenTelemetry is not installed: pip install 'unroll[tracing]', or unset it"
        ) from error
    logger.info("Tracing is on", extra={"endpoint_from": endpoint})
    return open_sdk_tracer(version)


def _first_set(variables: tuple[str, ...]) -> str:
    """The name of the first variable that is set, the most specific first."""
    return next((name for name in variables if os.environ.get(name)), "")


def _is(variable: str, value: str) -> bool:
    return os.environ.get(variable, "").strip().lower() == value
