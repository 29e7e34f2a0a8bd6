"""The load loops keep their rate and count every request, against a minimal server in the same event loop."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from service.cli.bench.load.closed_loop import ClosedLoop
from service.cli.bench.load.open_loop import OpenLoop, arrival_times
from service.cli.bench.load.tally import Tally

from tests.conftest import until
from tests.load.workload.dialects import Question, request

#: Long enough for several answers on a busy machine.
_SECONDS = 1.0

Handler = Callable[[int], Awaitable[tuple[int, Any]]]
Drive = Callable[[Tally, int], ClosedLoop | OpenLoop]


def questions(port: int) -> list[Question]:
    return [Question(request("/", {"number": number}, port), number, 1) for number in range(10)]


async def serve_and_drive(handler: Handler, drive: Drive) -> dict[str, Any]:
    """Answer requests with `handler` (number -> status, answer) while a loop of the client runs."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                status, answer = await handler(json.loads(await reader.readexactly(length))["number"])
                content = json.dumps({"answer": answer}).encode()
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(content), content))
        except asyncio.IncompleteReadError:
            writer.close()

    server = await asyncio.start_server(converse, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        tally = Tally(questions(port), lambda body: body["answer"])
        seen = await drive(tally, port).run()
        await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})
    return {**tally.summary(_SECONDS), **seen}


async def echo(number: int) -> tuple[int, Any]:
    await asyncio.sleep(0.001)
    return 200, number


def closed(connections: int) -> Drive:
    return lambda tally, port: ClosedLoop(tally, port, connections, warm_s=0.02, seconds=_SECONDS)


def open_at(rate: float) -> Drive:
    return lambda tally, port: OpenLoop(tally, port, rate, warm_s=0.02, seconds=_SECONDS)


def test_a_closed_loop_asks_again_and_checks_every_answer() -> None:
    found = asyncio.run(serve_and_drive(echo, closed(4)))
    assert found["checked"] > 4
    assert found["checked"] >= found["answered"]
    assert (found["wrong"], found["errors"], found["unanswered"]) == (0, 0, 0)


@pytest.mark.parametrize("drive", [closed(2), open_at(200)], ids=["closed", "open"])
def test_wrong_answers_are_noticed(drive: Drive) -> None:
    async def lie_about_three(number: int) -> tuple[int, Any]:
        await asyncio.sleep(0.001)
        return 200, number + (number == 3)

    found = asyncio.run(serve_and_drive(lie_about_three, drive))
    assert 0 < found["wrong"] < found["checked"]


def test_an_open_loop_keeps_coming_while_the_server_stalls() -> None:
    """A stall of three tenths of the window delays every request scheduled during it, not only the one in flight."""
    stalled = asyncio.Event()

    async def stall_once(number: int) -> tuple[int, Any]:
        if not stalled.is_set():
            stalled.set()
            loop = asyncio.get_running_loop()
            end_s = loop.time() + 0.3 * _SECONDS
            while loop.time() < end_s:
                pass  # blocks the event loop: neither this server nor the client runs
        return 200, number

    found = asyncio.run(serve_and_drive(stall_once, open_at(400)))
    assert found["errors"] == 0
    assert found["p90_ms"] > 20


def test_an_open_loop_counts_refusals_apart_and_goodput_within_the_window() -> None:
    async def refuse_odd(number: int) -> tuple[int, Any]:
        return (429 if number % 2 else 200), number

    found = asyncio.run(serve_and_drive(refuse_odd, open_at(400)))
    assert found["refused"] > 0
    assert found["refused_without_retry_after"] == found["refused"]
    assert found["wrong"] == 0
    assert 0 < found["goodput"] <= 400


def test_arrivals_are_poisson_and_repeatable() -> None:
    """Arrivals match the rate, lie within the window, repeat with the seed, and have exponential intervals."""
    times = list(arrival_times(1000, 5.0, 15.0, seed=3))
    gaps = [after - before for before, after in itertools.pairwise(times)]
    mean = sum(gaps) / len(gaps)
    spread = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert times == list(arrival_times(1000, 5.0, 15.0, seed=3))
    assert 5.0 <= times[0] < times[-1] < 15.0
    assert len(times) == pytest.approx(10_000, rel=0.05)
    assert spread == pytest.approx(mean, rel=0.1)
