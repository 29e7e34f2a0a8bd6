"""What an HTTP connection hands over to a WebSocket."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from starlette.types import ASGIApp, Message
from uvicorn.server import ServerState

from service.server.open_connections import OpenConnections
from service.server.websocket.handshake import RawHeaders
from service.server.websocket.places import SharedByWebSockets


class Handover(NamedTuple):
    """The application and its scope, the headers of the response 101, what all share, and the client's address."""

    app: ASGIApp
    scope: Message
    accept: RawHeaders
    server_state: ServerState
    open_connections: OpenConnections
    loop: asyncio.AbstractEventLoop
    shared: SharedByWebSockets
    address: str
