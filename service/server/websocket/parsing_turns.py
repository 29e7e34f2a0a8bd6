"""Turns of parsing that all WebSockets of a service share, so that no number of them holds the event loop.

In one turn of the event loop as much is parsed as costs some milliseconds, over all connections together. Connections
take their turns in rounds, one slice each. Who had no turn in this round goes first, so that a message of a connection
that sends little does not wait for the floods of others (as in the queue discipline FQ-CoDel of Linux).
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

#: What is parsed in one slice of a connection and in one turn of the event loop, as a number of small frames: each
#: takes about 20 microseconds. The last piece of a slice may exceed it.
SLICE_COST, TURN_COST = 32, 128


class Parsing(Protocol):
    """A connection with bytes that are not parsed."""

    def parse_slice(self) -> int:
        """Parse for `SLICE_COST` at most. Returns what it cost; 0: nothing could be parsed."""


class ParsingTurns:
    """Use it in the event loop."""

    def __init__(self) -> None:
        self._first: deque[Parsing] = deque()
        #: Those that had a turn in this round; also if nothing was left, lest many small pieces get more than a large.
        self._later: deque[Parsing] = deque()
        self._known: set[Parsing] = set()
        self._is_scheduled = False

    def ask(self, parsing: Parsing) -> None:
        """Let the connection parse when it is its turn, which may be before this turn of the event loop ends."""
        if parsing in self._known:
            return
        self._known.add(parsing)
        self._first.append(parsing)
        self._schedule()

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._take_turns)

    def _take_turns(self) -> None:
        self._is_scheduled = False
        spent = 0
        try:
            while spent < TURN_COST and (self._first or self._later):
                spent += self._take_turn()
        finally:
            if self._known:
                self._schedule()

    def _take_turn(self) -> int:
        """The next slice. Returns its cost, at least 1."""
        is_first = bool(self._first)
        parsing = (self._first or self._later).popleft()
        cost = parsing.parse_slice()
        if cost or is_first:
            self._later.append(parsing)
        else:
            self._known.discard(parsing)
        return max(cost, 1)
