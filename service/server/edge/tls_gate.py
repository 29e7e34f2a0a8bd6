"""The TLS handshake of a connection, which has a place among the open connections from its first byte.

A server of asyncio makes the protocol of a connection when its handshake is complete: until then nobody counts it, and it
may take a minute. Here the connection is admitted first, with the time of a request's headers for its handshake.
"""

from __future__ import annotations

import asyncio
import logging
import math
import ssl
from collections.abc import Callable
from typing import Any

from service.server.open_connections import EndReason, OpenConnections, RoomReason

logger = logging.getLogger(__name__)

ProtocolFactory = Callable[..., asyncio.Protocol]


class TlsGate(asyncio.Protocol):
    """A connection whose handshake is not complete; the protocol inside takes over once it is."""

    deadline_s = math.inf
    allowed_s = 0.0

    def __init__(
        self,
        context: ssl.SSLContext,
        open_connections: OpenConnections,
        make_protocol: ProtocolFactory,
        server_state: Any,
        **others: Any,
    ) -> None:
        """`make_protocol` takes what uvicorn hands to a protocol."""
        self._context = context
        self._open_connections = open_connections
        self._make_protocol: Callable[[], asyncio.Protocol] = lambda: make_protocol(server_state=server_state, **others)
        self._server_state = server_state

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake, if there is room for the connection."""
        assert isinstance(transport, asyncio.Transport)
        loop = asyncio.get_running_loop()
        self._transport = transport
        self.allowed_s = self._open_connections.limits.head_timeout_s
        self.deadline_s = loop.time() + self.allowed_s
        self._server_state.connections.add(self)
        if self._open_connections.admit(self) != "admitted":  # there is no telling it before the handshake
            self._end("too_many_connections")
            return
        task = loop.create_task(self._shake_hands(loop, transport))
        self._server_state.tasks.add(task)
        task.add_done_callback(self._server_state.tasks.discard)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has left during the handshake."""
        self._leave()

    def end_late(self) -> None:
        """The handshake has taken too long."""
        self._end("timeout")

    def end_for_room(self, reason: RoomReason) -> None:
        """Others need the room."""
        self._end(reason)

    def shutdown(self) -> None:
        """The service stops: uvicorn calls this."""
        self._transport.abort()
        self._leave()

    async def _shake_hands(self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport) -> None:
        protocol = self._make_protocol()
        try:
            secured = await loop.start_tls(
                transport, protocol, self._context, server_side=True, ssl_handshake_timeout=2 * self.allowed_s
            )
        except (OSError, asyncio.CancelledError) as error:  # what a client does wrong is no fault of the service
            logger.debug("TLS handshake failed", extra={"reason": str(error)})
            transport.abort()
            return
        finally:
            self._leave()
        if secured is not None:
            protocol.connection_made(secured)

    def _end(self, reason: EndReason) -> None:
        self._open_connections.count_ended(reason)
        self._transport.abort()
        self._leave()

    def _leave(self) -> None:
        self._open_connections.forget(self)
        self._server_state.connections.discard(self)
