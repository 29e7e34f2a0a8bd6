"""Places for WebSockets: how many one client may have open, and what all of them share."""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

from service.server.open_connections import RoomReason
from service.server.websocket.parsing_turns import ParsingTurns


class Placed(Protocol):
    """An open WebSocket.

    Attributes:
        deadline_s: when the service stops waiting for the client; infinite while it does not wait.
    """

    deadline_s: float

    def end_for_room(self, reason: RoomReason) -> None:
        """End it: others need the room. It leaves its place at once."""


class Places:
    """The open WebSockets by address of their client. Use it in the event loop."""

    def __init__(self, max_each: int) -> None:
        """`max_each` WebSockets may be open from one address; 0: any number."""
        self.max_each = max_each
        #: The one that has sent no whole message for longest is the first.
        self._taken: dict[str, dict[Placed, None]] = {}

    def make_room(self, address: str) -> bool:
        """Whether one more may be opened. The one that has sent no whole message for longest makes room for it.

        Those that are being answered stay.
        """
        taken = self._taken.get(address, ())
        if not self.max_each or len(taken) < self.max_each:
            return True
        silent = next((one for one in taken if one.deadline_s < math.inf), None)
        if silent is not None:
            silent.end_for_room("too_many_connections")
        return silent is not None

    def take(self, address: str, connection: Placed) -> None:
        """A WebSocket was opened."""
        self._taken.setdefault(address, {})[connection] = None

    def note_message(self, address: str, connection: Placed) -> None:
        """A message of an open WebSocket is complete: it is the last to make room."""
        taken = self._taken[address]
        del taken[connection]
        taken[connection] = None

    def leave(self, address: str, connection: Placed) -> None:
        """A WebSocket ends; calling it again does nothing."""
        taken = self._taken.get(address)
        if taken is not None:
            taken.pop(connection, None)
            if not taken:
                del self._taken[address]


class SharedByWebSockets(NamedTuple):
    """What all WebSockets of a service share."""

    turns: ParsingTurns
    places: Places
