"""Accepts bursts of connections. uvloop accepts one of a listening socket in each turn of the event loop.

While a flood makes each turn take milliseconds, a liveness check would wait for seconds behind the connections that
came before it. So each accepted connection has the rest of the queue accepted in the same turn, as asyncio does.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

#: Connections that are accepted in one turn besides those that uvloop accepts; each takes about 0.1 ms.
MAX_ACCEPTED_IN_TURN = 64

MakeProtocol = Callable[..., asyncio.Protocol]


class BurstAcceptor:
    """Call it to make a protocol: it stands in for the class, whose arguments are those of the first connection.

    Use it in the event loop.
    """

    def __init__(self, make_protocol: MakeProtocol, sockets: Sequence[socket.socket]) -> None:
        """`sockets` listen, and belong to the server."""
        self._make_protocol = make_protocol
        self._sockets = sockets
        self._is_scheduled = False
        self._opening: set[asyncio.Task[Any]] = set()

    def __call__(self, **arguments: Any) -> asyncio.Protocol:
        """The protocol of a connection that the event loop has accepted."""
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._accept_more, partial(self._make_protocol, **arguments))
        return self._make_protocol(**arguments)

    def _accept_more(self, make_protocol: Callable[[], asyncio.Protocol]) -> None:
        self._is_scheduled = False
        loop = asyncio.get_running_loop()
        for listening in self._sockets:
            for _ in range(MAX_ACCEPTED_IN_TURN):
                try:
                    accepted, _ = listening.accept()
                except OSError:  # none waits, or the socket is closed; the event loop deals with what is wrong
                    break
                accepted.setblocking(False)
                opening = loop.create_task(_opened(loop, make_protocol, accepted))
                self._opening.add(opening)
                opening.add_done_callback(self._opening.discard)


async def _opened(
    loop: asyncio.AbstractEventLoop, make_protocol: Callable[[], asyncio.Protocol], accepted: socket.socket
) -> None:
    try:
        await loop.connect_accepted_socket(make_protocol, accepted)
    except OSError:  # it has left already
        accepted.close()


def accepts_singly(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether the event loop accepts one connection in a turn."""
    return type(loop).__module__.partition(".")[0] == "uvloop"
