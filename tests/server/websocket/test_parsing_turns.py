"""Parsing is shared: what one turn of the event loop parses is bounded, whatever number of connections flood."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

from service.server.websocket.parsing_turns import SLICE_COST, TURN_COST, ParsingTurns


def in_loop(test: Callable[[], Coroutine[None, None, None]]) -> Callable[[], None]:
    """Run a test in an event loop of its own."""
    return lambda: asyncio.run(test())


class Flood:
    """A connection with so much to parse; it writes down in which order the connections had a slice."""

    def __init__(self, left: int, order: list[Flood]) -> None:
        self.left = left
        self._order = order

    def parse_slice(self) -> int:
        cost = min(self.left, SLICE_COST)
        self.left -= cost
        if cost:
            self._order.append(self)
        return cost


@in_loop
async def test_the_event_loop_has_its_turn_after_each_budget() -> None:
    """Four hundred floods: no turn parses more than one slice above the budget, and all get the same."""
    turns, order, in_turn = ParsingTurns(), list[Flood](), list[int]()
    floods = [Flood(20 * SLICE_COST, order) for _ in range(400)]
    for flood in floods:
        turns.ask(flood)
    num_seen = 0
    while any(flood.left for flood in floods):
        await asyncio.sleep(0)
        in_turn.append((len(order) - num_seen) * SLICE_COST)
        num_seen = len(order)
        assert max(flood.left for flood in floods) - min(flood.left for flood in floods) <= SLICE_COST
    assert max(in_turn) <= TURN_COST


@in_loop
async def test_who_sends_little_waits_for_no_flood() -> None:
    turns, order = ParsingTurns(), list[Flood]()
    floods = [Flood(100 * SLICE_COST, order) for _ in range(200)]
    for flood in floods:
        turns.ask(flood)
    for _ in range(50):
        await asyncio.sleep(0)
    other = Flood(1, order)
    before = len(order)
    turns.ask(other)
    await asyncio.sleep(0)
    assert order[before] is other


@in_loop
async def test_many_small_pieces_get_no_more_than_a_large_one() -> None:
    """A connection that asks again after each slice has one slice in a round, as the others."""
    turns, order = ParsingTurns(), list[Flood]()
    floods = [Flood(10 * SLICE_COST, order) for _ in range(20)]
    greedy = Flood(1, order)
    for flood in (*floods, greedy):
        turns.ask(flood)
    while any(flood.left for flood in floods):
        if not greedy.left:
            greedy.left = 1
        turns.ask(greedy)
        await asyncio.sleep(0)
    assert order.count(greedy) <= 11


@in_loop
async def test_no_turn_is_taken_when_nothing_waits() -> None:
    turns, order = ParsingTurns(), list[Flood]()
    flood = Flood(1, order)
    turns.ask(flood)
    for _ in range(3):
        await asyncio.sleep(0)
    flood.left = 1
    for _ in range(3):
        await asyncio.sleep(0)
    assert order == [flood], "nobody asked again"


@in_loop
async def test_a_connection_that_fails_takes_no_turn_of_others() -> None:
    turns, order, errors = ParsingTurns(), list[Flood](), list[object]()

    class Broken:
        def parse_slice(self) -> int:
            raise RuntimeError("a fault")

    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context["exception"]))
    turns.ask(Broken())
    flood = Flood(1, order)
    turns.ask(flood)
    for _ in range(3):
        await asyncio.sleep(0)
    assert order == [flood]
    assert len(errors) == 1
