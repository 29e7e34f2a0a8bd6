"""What many streams get from several runs is passed on together, the first product and the end at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from service.inference.scheduling import hand_over
from service.inference.scheduling.fair_share import FairShare
from service.inference.scheduling.hand_over import MANY_STREAMS, HandOver
from service.inference.scheduling.stream import Stream
from service.tasks.core.step_batch import Outcome
from tests.conftest import PATIENCE_S, until

NEVER_S = 1e6


class Request:
    """A request of one row."""

    length = num_rows = 1


class Reader:
    """Reads a stream; `passes` has what it got each time."""

    def __init__(self) -> None:
        self.stream: Stream[Any] = Stream(Request(), NEVER_S, 1024, FairShare().begin(""), lambda _: None)
        self.passes: list[list[int]] = []
        self.task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for products in self.stream.batches(self._take):
            self.passes.append(products)

    def _take(self, products: list[int]) -> bool:
        self.passes.append(products.copy())
        return True


async def step(over: HandOver[Any], readers: list[Reader], product: int, *, finished: bool = False) -> None:
    """A run from which each gets this product."""
    over.put([(each.stream, Outcome(each.stream.request, product, finished=finished)) for each in readers])
    for _ in range(3):  # the call of the hand-over, and the tasks that it wakes
        await asyncio.sleep(0)


def play(num_readers: int, scenario: Callable[[HandOver[Any], list[Reader]], Awaitable[None]]) -> None:
    async def run() -> None:
        readers = [Reader() for _ in range(num_readers)]
        await asyncio.sleep(0)
        await scenario(HandOver("m"), readers)
        for reader in readers:
            reader.stream.close()
        await asyncio.wait_for(asyncio.gather(*(reader.task for reader in readers)), PATIENCE_S)

    asyncio.run(run())


def test_products_of_many_streams_wait_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new stream gets its first product at once, and the last one comes with all that waited, in order."""
    monkeypatch.setattr(hand_over, "PERIOD_S", NEVER_S)

    async def scenario(over: HandOver[Any], readers: list[Reader]) -> None:
        first, new = readers[:-1], readers[-1]
        await step(over, first, 1)
        await step(over, readers, 2)
        assert [reader.passes for reader in first] == [[[1]]] * MANY_STREAMS
        assert new.passes == [[2]]
        await step(over, readers, 3)
        await step(over, readers, 4, finished=True)
        assert [reader.passes for reader in first] == [[[1], [2, 3, 4]]] * MANY_STREAMS
        assert new.passes == [[2], [3, 4]]

    play(MANY_STREAMS + 1, scenario)


def test_products_that_wait_are_passed_on_although_nothing_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The period ends by itself, and all that came within it is one pass."""
    monkeypatch.setattr(hand_over, "PERIOD_S", 0.5)

    async def scenario(over: HandOver[Any], readers: list[Reader]) -> None:
        for product in (1, 2, 3):
            await step(over, readers, product)
        await until(lambda: sum(map(len, readers[0].passes)) == 3)
        assert all([product for products in reader.passes for product in products] == [1, 2, 3] for reader in readers)

    play(MANY_STREAMS, scenario)


def test_few_streams_get_each_product_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hand_over, "PERIOD_S", NEVER_S)

    async def scenario(over: HandOver[Any], readers: list[Reader]) -> None:
        for product in (1, 2, 3):
            await step(over, readers, product)
        assert [reader.passes for reader in readers] == [[[1], [2], [3]]] * (MANY_STREAMS - 1)

    play(MANY_STREAMS - 1, scenario)
