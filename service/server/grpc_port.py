"""The port of gRPC: opened and closed with the service, in its event loop, with its limits and its certificate."""

from __future__ import annotations

import asyncio
import logging
import math
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from service.api.call import Services
from service.api.request_scope import RequestScope
from service.distribution import install_hint
from service.observability.metrics import Metrics
from service.server.edge.tls import Tls
from service.server.open_connections import OpenConnections
from service.settings import Settings, SettingsError

if TYPE_CHECKING:
    import grpc
    import grpc.aio

logger = logging.getLogger(__name__)

Options = list[tuple[str, int]]

#: Clients may ask whether the connection lives as often as this.
_MIN_CLIENT_PING_S = 5.0
#: Beyond the soft limit on metadata calls are refused at random, beyond the hard one always.
_HARD_METADATA_SHARE = 1.25
#: On one connection; a client with more of them waits.
_MAX_CONCURRENT_STREAMS = 1024
#: What a client may send of a message that is not read yet.
_LOOKAHEAD_BYTES = 64 * 1024


class Host(Protocol):
    """What the port needs of the application."""

    services: Services
    metrics: Metrics
    open_connections: OpenConnections

    @property
    def reports(self) -> RequestScope: ...
    def enter(self) -> bool: ...
    def leave(self) -> None: ...


def require_grpc() -> None:
    """Raises SettingsError if the packages of the extra are missing."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # it would write to standard error, which has lines of JSON
    try:
        import grpc.aio  # noqa: F401
        import grpc_health.v1.health_pb2  # noqa: F401
        import grpc_reflection.v1alpha.reflection_pb2  # noqa: F401
    except ImportError as error:
        raise SettingsError(f"UNROLL_GRPC_PORT needs the extra grpc ({error}): {install_hint('grpc')}") from error


class GrpcPort:
    """The server of gRPC. `port` is the one it listens on once it has started."""

    def __init__(self, settings: Settings, host: Host, tls: Tls | None, *, is_shared: bool = False) -> None:
        """`is_shared`: other workers listen on the same port. Raises SettingsError if the extra is not installed."""
        require_grpc()
        self._is_shared = is_shared
        self.port = 0
        self._settings = settings
        self._host = host
        self._tls = tls
        self._server: grpc.aio.Server | None = None
        self._announce: Sequence[Callable[[], None]] = ()

    async def start(self) -> None:
        """Listen. Raises OSError with a plain message."""
        import grpc.aio

        from service.api.protocols.open_inference.grpc_service.calls import NAME, Calls
        from service.api.protocols.open_inference.grpc_service.handlers import handlers_of
        from service.api.protocols.open_inference.grpc_service.health import Health
        from service.api.protocols.open_inference.grpc_service.infer_stream import InferStreams
        from service.api.protocols.open_inference.grpc_service.message_size import port_limit

        host, settings = self._host, self._settings
        max_bytes = await asyncio.to_thread(port_limit, settings)
        calls = Calls(host.services, host.reports, host, host.open_connections, max_bytes)
        streams, health = InferStreams(calls), Health(host.services.registry, settings.max_streams_per_client)
        server = grpc.aio.server(options=channel_options(settings, max_bytes, is_shared=self._is_shared))
        server.add_generic_rpc_handlers((handlers_of(calls, streams, health),))
        self.port = self._listen(server)
        self._announce = (health.stop, streams.stop)
        host.metrics.stream_connections.labels(NAME).set_function(lambda: streams.open)
        await server.start()
        self._server = server
        logger.info("listening on %s://%s", "grpcs" if self._tls else "grpc", _address(settings.host, self.port))

    async def stop(self, grace_s: float) -> None:
        """Refuse new calls, and give those in flight so long. Streams end with what they have read."""
        for announce in self._announce:
            announce()
        if self._server is not None:
            await self._server.stop(grace_s)

    def _listen(self, server: grpc.aio.Server) -> int:
        settings = self._settings
        assert settings.grpc_port is not None, "the port is opened where it is set"
        address = _address(settings.host, settings.grpc_port)
        try:
            if self._tls is None:
                return server.add_insecure_port(address)
            return server.add_secure_port(address, _credentials(self._tls))
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address}: {error}; choose another with --grpc-port") from error


def channel_options(settings: Settings, max_bytes: int, *, is_shared: bool = False) -> Options:
    """The limits of the service as gRPC spells them; `max_bytes` is that on a message."""
    keepalive_s = settings.stream_ping_interval_s
    return [
        ("grpc.so_reuseport", int(is_shared)),  # two services must not share a port without noticing
        ("grpc.max_receive_message_length", max_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.per_message_decompression", 0),  # see `received`
        ("grpc.max_metadata_size", settings.max_head_bytes),
        ("grpc.absolute_max_metadata_size", math.ceil(settings.max_head_bytes * _HARD_METADATA_SHARE)),
        ("grpc.max_allowed_incoming_connections", settings.max_connections),
        ("grpc.max_concurrent_streams", _MAX_CONCURRENT_STREAMS),
        ("grpc.max_connection_idle_ms", _milliseconds(settings.keep_alive_s)),  # without a call
        ("grpc.server_handshake_timeout_ms", _milliseconds(settings.head_timeout_s)),
        ("grpc.http2.lookahead_bytes", _LOOKAHEAD_BYTES),
        ("grpc.http2.min_ping_interval_without_data_ms", _milliseconds(_MIN_CLIENT_PING_S)),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", _milliseconds(_MIN_CLIENT_PING_S)),
        ("grpc.keepalive_permit_without_calls", 1),
        *([("grpc.keepalive_time_ms", _milliseconds(keepalive_s))] if keepalive_s else []),
        *([("grpc.keepalive_timeout_ms", _milliseconds(settings.unread_timeout_s))] if keepalive_s else []),
    ]


def _credentials(tls: Tls) -> grpc.ServerCredentials:
    """The certificate, key and authorities of clients as they are in their files when a client connects."""
    import grpc

    def configuration() -> grpc.ServerCertificateConfiguration:
        pem = tls.pem
        return grpc.ssl_server_certificate_configuration([(pem.key, pem.cert)], pem.client_ca)

    return grpc.dynamic_ssl_server_credentials(
        configuration(), configuration, require_client_authentication=tls.pem.client_ca is not None
    )


def _milliseconds(seconds: float) -> int:
    return min(math.ceil(seconds * 1000), 2**31 - 1)


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"
