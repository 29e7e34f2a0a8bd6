"""Inputs are prepared piece by piece: requests take turns, and nothing is done for those that have expired or left."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from service.errors import DeadlineExceeded, NotReady
from service.inference.scheduling.preparation import Preparation
from tests.conftest import PATIENCE_S, until

FAR_S = 1e9


class Pieces:
    """Records the pieces that are done, by request. Those of `held` wait until the test lets them go."""

    def __init__(self, held: str = "") -> None:
        self.done: list[str] = []
        self.held = held
        self.go = threading.Event()

    def of(self, name: str, count: int) -> list[Callable[[], str]]:
        return [partial(self._do, name) for _ in range(count)]

    def _do(self, name: str) -> str:
        self.done.append(name)
        if name == self.held:
            assert self.go.wait(PATIENCE_S)
        return name


Scenario = Callable[[Preparation, Pieces], Awaitable[None]]


def play(scenario: Scenario, held: str = "", num_threads: int = 1) -> Pieces:
    pieces = Pieces(held)

    async def run() -> None:
        preparation = Preparation(num_threads)
        try:
            async with asyncio.timeout(PATIENCE_S):
                await scenario(preparation, pieces)
        finally:
            pieces.go.set()
            preparation.close()

    asyncio.run(run())
    return pieces


def test_results_come_in_order() -> None:
    async def scenario(preparation: Preparation, pieces: Pieces) -> None:
        squares = [partial(pow, number, 2) for number in range(50)]
        assert await preparation.run(squares, FAR_S) == [number**2 for number in range(50)]

    play(scenario, num_threads=3)


def test_a_small_request_waits_for_a_piece_of_a_large_one_and_not_for_all() -> None:
    async def scenario(preparation: Preparation, pieces: Pieces) -> None:
        large = asyncio.create_task(preparation.run(pieces.of("large", 80), FAR_S))
        await until(lambda: bool(pieces.done))
        small = asyncio.create_task(preparation.run(pieces.of("small", 1), FAR_S))
        await asyncio.sleep(0)
        pieces.go.set()
        await asyncio.gather(large, small)

    assert play(scenario, held="large").done.index("small") <= 2


def test_a_large_request_holds_one_thread_alone() -> None:
    """While a piece of it hangs, another thread answers a small request."""

    async def scenario(preparation: Preparation, pieces: Pieces) -> None:
        large = asyncio.create_task(preparation.run(pieces.of("large", 9), FAR_S))
        await until(lambda: bool(pieces.done))
        assert await preparation.run(pieces.of("small", 3), FAR_S) == ["small"] * 3
        assert pieces.done.count("large") == 1
        pieces.go.set()
        await large

    play(scenario, held="large", num_threads=2)


def test_after_the_deadline_no_further_piece_is_begun() -> None:
    async def scenario(preparation: Preparation, pieces: Pieces) -> None:
        with pytest.raises(DeadlineExceeded):
            await preparation.run(pieces.of("late", 9), time.monotonic() + 0.05)
        pieces.go.set()
        await preparation.run(pieces.of("next", 2), FAR_S)

    assert play(scenario, held="late").done == ["late", "next", "next"]


def test_what_expires_while_it_waits_costs_nothing() -> None:
    async def scenario(preparation: Preparation, pieces: Pieces) -> None:
        large = asyncio.create_task(preparation.run(pieces.of("large", 2), FAR_S))
        await until(lambda: bool(pieces.done))
        for deadline_s in (time.monotonic() - 1, time.monotonic() + 0.05):
            with pytest.raises(DeadlineExceeded):
                await preparation.run(pieces.of("late", 9), deadline_s)
        pieces.go.set()
        await large

    assert play(scenario, held="large").done == ["large", "large"]


def test_a_caller_who_leaves_costs_no_further_piece() -> None:
    async def scenario(preparation: Preparation, pieces: Pieces) -> None:
        gone = asyncio.create_task(preparation.run(pieces.of("gone", 9), FAR_S))
        await until(lambda: bool(pieces.done))
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        pieces.go.set()
        await preparation.run(pieces.of("next", 1), FAR_S)

    assert play(scenario, held="gone").done == ["gone", "next"]


def test_the_error_of_a_piece_is_the_answer_and_ends_the_request() -> None:
    async def scenario(preparation: Preparation, pieces: Pieces) -> None:
        broken = [*pieces.of("before", 1), partial(int, "no number"), *pieces.of("after", 1)]
        with pytest.raises(ValueError, match="no number"):
            await preparation.run(broken, FAR_S)
        assert await preparation.run(pieces.of("next", 1), FAR_S) == ["next"]

    assert play(scenario).done == ["before", "next"]


def test_closing_answers_everyone_who_waits() -> None:
    async def scenario(preparation: Preparation, pieces: Pieces) -> None:
        waiting = asyncio.create_task(preparation.run(pieces.of("large", 9), FAR_S))
        await until(lambda: bool(pieces.done))
        preparation.close()
        with pytest.raises(NotReady):
            await waiting
        with pytest.raises(NotReady):
            await preparation.run(pieces.of("next", 1), FAR_S)

    play(scenario, held="large")
