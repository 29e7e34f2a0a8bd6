"""The TLS handshake of a connection, which has a place among the open connections from its first byte.

A server of asyncio makes the protocol of a connection when its handshake is complete: until then nobody counts it, and
it may take a minute. Here the connection is admitted first, with the time of a request's headers for its handshake.
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


class TlsGate(asyncio.Protocol):
    """A connection whose handshake is not complete; the protocol inside takes over once it is."""

    deadline_s = math.inf
    allowed_s = 0.0

    def __init__(
        self,
        context: ssl.SSLContext,
        open_connections: OpenConnections,
        make_protocol: Callable[..., asyncio.Protocol],
        server_state: Any,
        **others: Any,
    ) -> None:
        """`make_protocol` takes what uvicorn hands to a protocol."""
        self._context = context
        self._open_connections = open_connections
        self._make_protocol: Callable[[], asyncio.Protocol] = lambda: make_protocol(server_state=server_state, **others)
        self._server_state = server_state
        self._task: asyncio.Task[None] | None = None
        self._connection: Any = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin the handshake, if there is room for the connection.

        The transport is replaced before it reads: what it had read would be lost for the handshake.
        """
        loop = asyncio.get_running_loop()
        self.allowed_s = self._open_connections.limits.head_timeout_s
        self.deadline_s = loop.time() + self.allowed_s
        admission = self._open_connections.admit(self)
        if admission == "admitted":
            self._connection = transport.get_extra_info("socket").dup()
            self._task = loop.create_task(self._shake_hands(loop))
            self._task.add_done_callback(self._note_end)
            self._server_state.tasks.add(self._task)
            self._server_state.connections.add(self)
        else:
            self._end("too_many_connections")  # nothing can be said before the handshake
        transport.abort()

    def end_late(self) -> None:
        """The handshake has taken too long."""
        self._end("timeout")

    def end_for_room(self, reason: RoomReason) -> None:
        """Others need the room."""
        self._end(reason)

    def shutdown(self) -> None:
        """The service stops: uvicorn calls this."""
        self._leave()

    async def _shake_hands(self, loop: asyncio.AbstractEventLoop) -> None:
        connection, self._connection = self._connection, None
        try:
            await loop.connect_accepted_socket(
                self._protocol_inside, connection, ssl=self._context, ssl_handshake_timeout=2 * self.allowed_s
            )
        except OSError as error:  # what a client does wrong is no fault of the service
            logger.debug("TLS handshake failed", extra={"reason": str(error)})

    def _protocol_inside(self) -> Any:
        """The protocol, which takes the place of this connection as soon as the handshake is complete."""
        protocol: Any = self._make_protocol()

        def connection_made(transport: asyncio.BaseTransport) -> None:
            del protocol.connection_made
            self._task = None
            self._leave()
            protocol.connection_made(transport)

        protocol.connection_made = connection_made
        return protocol

    def _note_end(self, task: asyncio.Task[None]) -> None:
        self._server_state.tasks.discard(task)
        if self._connection is not None:  # ended before it began
            self._connection.close()
        self._leave()

    def _end(self, reason: EndReason) -> None:
        self._open_connections.count_ended(reason)
        self._leave()

    def _leave(self) -> None:
        """Make room: the connection has been handed over, or ends."""
        self._open_connections.forget(self)
        self._server_state.connections.discard(self)
        if self._task is not None:
            self._task.cancel()
