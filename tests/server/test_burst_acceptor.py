"""A burst of connections is accepted in few turns of the event loop, so that nobody waits behind it for long."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

import uvloop

from service.server.burst_acceptor import MAX_ACCEPTED_IN_TURN, BurstAcceptor, accepts_singly
from tests.conftest import PATIENCE_S

_NUM_CONNECTIONS = 300


def turns_to_accept(has_acceptor: bool) -> tuple[int, int]:
    """In how many turns of uvloop a queue of connections is accepted, and the most in one turn."""
    in_turn: list[int] = [0]

    class Counting(asyncio.Protocol):
        def connection_made(self, _transport: object) -> None:
            in_turn[-1] += 1

    async def accept() -> None:
        loop = asyncio.get_running_loop()
        with socket.socket() as listening, contextlib.ExitStack() as stack:
            listening.bind(("127.0.0.1", 0))
            make: Any = BurstAcceptor(Counting, [listening]) if has_acceptor else Counting
            server = await loop.create_server(make, sock=listening, backlog=_NUM_CONNECTIONS)
            for _ in range(_NUM_CONNECTIONS):
                stack.enter_context(socket.create_connection(listening.getsockname()))
            async with asyncio.timeout(PATIENCE_S):
                while sum(in_turn) < _NUM_CONNECTIONS:
                    in_turn.append(0)
                    await asyncio.sleep(0)
            server.close()

    uvloop.run(accept())
    return sum(number > 0 for number in in_turn), max(in_turn)


def test_a_burst_is_accepted_in_a_few_turns() -> None:
    """uvloop alone takes as many turns as there are connections: what the acceptor is for."""
    assert turns_to_accept(has_acceptor=False) == (_NUM_CONNECTIONS, 1)
    num_turns, most = turns_to_accept(has_acceptor=True)
    assert num_turns <= 2 * _NUM_CONNECTIONS // MAX_ACCEPTED_IN_TURN + 2
    assert most <= MAX_ACCEPTED_IN_TURN + 1


def test_asyncio_needs_none() -> None:
    async def singly() -> bool:
        return accepts_singly(asyncio.get_running_loop())

    assert uvloop.run(singly())
    assert not asyncio.run(singly())
