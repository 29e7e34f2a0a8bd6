"""The load loops count every request, keep to their window, and survive a server that dies, stalls or hangs up."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any, cast

import pytest

from service.cli.bench.load import open_loop, window
from service.cli.bench.load.address import Address
from service.cli.bench.load.closed_loop import ClosedLoop
from service.cli.bench.load.connection import Answered, Connection, Lost, Reply
from service.cli.bench.load.open_loop import OpenLoop, arrival_times
from service.cli.bench.load.tally import Tally
from service.cli.bench.load.window import Clock, Window
from tests.cli.bench.tiny_server import Handler, answer, serving
from tests.conftest import until

PAYLOADS = [Address("127.0.0.1", 1).post("/predict", {"inputs": number}) for number in range(10)]


async def at_once(head: str, number: int) -> bytes:
    return answer()


async def drive(handler: Handler, kind: str, measured: Window, tally: Tally) -> dict[str, Any]:
    """One load of two callers, or of 400 requests a second, on a server in the same event loop."""
    async with serving(handler) as address:
        loop = OpenLoop(tally, address, 400, measured) if kind == "open" else ClosedLoop(tally, address, 2, measured)
        return await loop.run()


def load(handler: Handler, kind: str, warm_s: float = 0.0, requests: int = 40) -> tuple[Tally, dict[str, Any], Window]:
    """A load of so many counted requests."""
    tally = Tally(PAYLOADS)

    async def run() -> tuple[dict[str, Any], Window]:
        limited = Window(warm_s, None, requests)
        return await drive(handler, kind, limited, tally), limited

    return tally, *asyncio.run(run())


@pytest.mark.parametrize("kind", ["closed", "open"])
def test_every_request_is_counted_once(kind: str) -> None:
    tally, seen, _ = load(at_once, kind)
    assert (len(tally.latencies_s), tally.errors.total(), seen["unanswered"]) == (40, 0, 0)


@pytest.mark.parametrize("kind", ["closed", "open"])
def test_requests_of_the_warm_up_are_not_counted(kind: str) -> None:
    served = []

    async def note(head: str, number: int) -> bytes:
        served.append(number)
        return answer()

    tally, _, measured = load(note, kind, warm_s=0.3, requests=5)
    assert len(tally.latencies_s) == 5
    assert len(served) > 5
    assert measured.measured_s > 0


@pytest.mark.parametrize("kind", ["closed", "open"])
def test_a_server_that_closes_after_each_answer_is_asked_again(kind: str) -> None:
    """`Connection: close` is no error."""

    async def once(head: str, number: int) -> bytes:
        return answer(headers="Connection: close\r\n")

    tally, seen, _ = load(once, kind)
    assert (len(tally.latencies_s), tally.errors.total(), seen["unanswered"]) == (40, 0, 0)


@pytest.mark.parametrize("kind", ["closed", "open"])
def test_refusals_and_lost_connections_are_told_apart(kind: str) -> None:
    async def in_turn(head: str, number: int) -> bytes:
        return (answer(), answer(status=429, headers="Retry-After: 1\r\n"), b"")[number % 3]

    tally, _, _ = load(in_turn, kind, requests=30)
    assert (len(tally.latencies_s), len(tally.refusals_s)) == (10, 10)
    assert tally.errors == {"connection lost": 10}
    assert not tally.refusals_without_retry_after


def test_a_server_that_dies_is_noticed_and_tried_again() -> None:
    """Its callers see the lost connection, then that nobody listens, and go on when it is there again."""
    tally = Tally(PAYLOADS)

    async def run() -> None:
        opened = Window(0.0, None)
        async with serving(at_once) as address:
            loop = asyncio.ensure_future(ClosedLoop(tally, address, 2, opened).run())
            await until(lambda: len(tally.latencies_s) > 10)
        await until(lambda: tally.errors["no connection: connection refused"] > 2)
        num_before = len(tally.latencies_s)
        async with serving(at_once, address.port):
            await until(lambda: len(tally.latencies_s) > num_before)
            opened.stop()
            await loop

    asyncio.run(run())
    assert sum(count for kind, count in tally.errors.items() if kind.startswith("connection lost")) == 2


@pytest.mark.parametrize("kind", ["closed", "open"])
def test_an_interrupted_load_ends_at_once_with_what_it_has(kind: str) -> None:
    """The requests that were under way are neither answered nor faults."""
    tally = Tally(PAYLOADS)

    async def run() -> tuple[dict[str, Any], Window]:
        opened = Window(0.0, None)

        async def then_hang(head: str, number: int) -> bytes:
            if number >= 20:
                opened.stop()
                await asyncio.Event().wait()
            return answer()

        return await drive(then_hang, kind, opened, tally), opened

    seen, opened = asyncio.run(run())
    assert 0 < len(tally.latencies_s) <= 20
    assert (tally.errors.total(), seen["unanswered"], opened.is_stopped) == (0, 0, True)


@pytest.mark.parametrize("kind", ["closed", "open"])
def test_what_is_never_answered_shows_as_unanswered(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window, "GRACE_S", 0.05)
    tally = Tally(PAYLOADS)

    async def never(head: str, number: int) -> bytes:
        await asyncio.Event().wait()
        return b""

    async def run() -> dict[str, Any]:
        return await drive(never, kind, Window(0.0, 0.4), tally)

    seen = asyncio.run(run())
    assert seen["unanswered"] > 1
    assert seen["longest_wait_ms"] > 0
    assert not tally.latencies_s


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


class FakeClock(Clock):
    """Time passes only while the loop waits for an arrival."""

    def __init__(self) -> None:
        self.time_s = 0.0

    def now(self) -> float:
        return self.time_s

    async def until(self, when_s: float) -> None:
        for _ in range(5):  # what the earlier arrivals began comes first
            await asyncio.sleep(0)
        self.time_s = max(self.time_s, when_s)


class FakeConnection:
    """Notes when it was asked, and from when the latency counts."""

    def __init__(self, clock: FakeClock, answered: Answered) -> None:
        self.number, self.started_s = -1, 0.0
        self.sent: list[tuple[float, float]] = []
        self._clock, self._answered = clock, answered

    def ask(self, payload: bytes, number: int, started_s: float) -> None:
        self.number, self.started_s = number, started_s
        self.sent.append((self._clock.now(), started_s))

    def answer(self) -> None:
        latency_s = self._clock.now() - self.started_s
        self._answered(cast(Connection, self), Reply(200, b"{}", latency_s, False))

    def close(self) -> None: ...


def test_the_schedule_does_not_wait_for_answers_and_latency_counts_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one connection that is busy, later arrivals are sent late, and their wait is part of their latency."""
    monkeypatch.setattr(open_loop, "MAX_CONNECTIONS", 1)
    clock, opened = FakeClock(), []
    expected = list(itertools.islice(arrival_times(10, open_loop._START_S, 100.0), 3))

    async def opener(address: Address, answered: Answered, lost: Lost) -> Connection:
        opened.append(FakeConnection(clock, answered))
        return cast(Connection, opened[-1])

    async def run() -> tuple[Tally, dict[str, Any]]:
        tally = Tally(PAYLOADS)
        limited = Window(0.0, None, 3, clock)
        loop = asyncio.ensure_future(OpenLoop(tally, Address("", 0), 10, limited, opener=opener).run())
        await until(lambda: clock.time_s == expected[-1] and bool(opened and opened[0].sent))
        for number in range(3):
            await until(lambda: len(opened[0].sent) > number)  # noqa: B023 - awaited here
            opened[0].answer()
        return tally, await loop

    tally, seen = asyncio.run(run())
    assert [started_s for _, started_s in opened[0].sent] == expected
    assert [sent_s for sent_s, _ in opened[0].sent[1:]] == [expected[-1]] * 2
    assert list(tally.latencies_s) == pytest.approx([expected[-1] - started_s for started_s in expected])
    assert seen["offered"] == 3
    assert seen["late_max_ms"] == pytest.approx(1000 * (expected[-1] - expected[1]))
