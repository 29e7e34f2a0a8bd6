"""One measurement: a load on a server for a while, with its latencies, errors and the cost of the client itself."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from service.cli.bench.load.address import Address
from service.cli.bench.load.closed_loop import ClosedLoop
from service.cli.bench.load.open_loop import OpenLoop
from service.cli.bench.load.service_metrics import batches_between, scrape
from service.cli.bench.load.tally import Tally, milliseconds
from service.cli.bench.load.window import Window

#: How often the live display is refreshed.
_LOOK_EVERY_S = 0.5


@dataclass(frozen=True)
class Load:
    """Concurrent callers of a closed loop, or requests a second of an open one."""

    connections: int | None = None
    rate: float | None = None

    @property
    def name(self) -> str:
        return f"c = {self.connections}" if self.connections is not None else f"{self.rate:g}/s"


@dataclass(frozen=True)
class Extent:
    """How long a measurement takes."""

    warm_s: float
    seconds: float | None
    requests: int | None = None


@dataclass(frozen=True)
class Look:
    """What the live display shows: the latencies of the time since the last look, and counts since the beginning."""

    elapsed_s: float
    is_warm: bool
    recent_s: list[float]
    recent_tokens: int
    interval_s: float
    answered: int
    refused: int
    errors: int
    in_flight: int


@dataclass
class Measurement:
    """What was measured: the tally, and the figures around it.

    Attributes:
        seconds: measured time.
        seen: figures of the loop, such as `unanswered` and `late_p99_ms`.
        batches: `mean_rows` and `padded_share` by the service's own count.
        client_cores: CPU time of this process by second.
    """

    tally: Tally
    seconds: float
    seen: dict[str, Any]
    client_cores: float
    is_interrupted: bool
    batches: dict[str, float] = field(default_factory=dict)

    def figures(self) -> dict[str, Any]:
        """Every figure by name, as written to JSON."""
        streams = (
            {
                **milliseconds("time_to_first_token_", self.tally.first_tokens_s),
                **milliseconds("between_tokens_", self.tally.between_tokens_s),
            }
            if self.tally.streams
            else {}
        )
        return {
            **self.tally.summary(self.seconds),
            **streams,
            "error_samples": self.tally.samples,
            **self.seen,
            **self.batches,
            "seconds": self.seconds,
            "client_cores": self.client_cores,
            "interrupted": self.is_interrupted,
        }


async def measure(
    tally: Tally, address: Address, load: Load, extent: Extent, tell: Callable[[Look], None] | None = None
) -> Measurement:
    """Put one load on a server. SIGINT ends it early with what was measured until then."""
    before = await scrape(address)
    window = Window(extent.warm_s, extent.seconds, extent.requests)
    loop: ClosedLoop | OpenLoop
    if load.rate is not None:
        loop = OpenLoop(tally, address, load.rate, window)
    else:
        loop = ClosedLoop(tally, address, load.connections or 1, window)
    with _interrupted_by(window.stop):
        cpu_s, wall_s = time.process_time(), time.perf_counter()
        watching = asyncio.get_running_loop().create_task(_watch(window, tally, loop, tell)) if tell else None
        seen = await loop.run()
        client_cores = (time.process_time() - cpu_s) / (time.perf_counter() - wall_s)
        if watching is not None:
            watching.cancel()
    # The warm-up is part of these two figures; they are ratios, which it hardly changes.
    batches = batches_between(before, await scrape(address)) if before else {}
    return Measurement(tally, window.measured_s, seen, client_cores, window.is_stopped, batches)


async def _watch(window: Window, tally: Tally, loop: ClosedLoop | OpenLoop, tell: Callable[[Look], None]) -> None:
    num_seen, num_tokens, last_s = 0, 0, window.clock.now()
    while True:
        await asyncio.sleep(_LOOK_EVERY_S)
        now, recent_s = window.clock.now(), list(tally.latencies_s[num_seen:])
        tell(
            Look(
                elapsed_s=now - window.start_s,
                is_warm=now >= window.begin_s,
                recent_s=recent_s,
                recent_tokens=tally.tokens - num_tokens,
                interval_s=now - last_s,
                answered=len(tally.latencies_s),
                refused=len(tally.refusals_s),
                errors=tally.errors.total(),
                in_flight=loop.in_flight,
            )
        )
        num_seen, num_tokens, last_s = num_seen + len(recent_s), tally.tokens, now


@contextlib.contextmanager
def _interrupted_by(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` on the first Ctrl-C; a second one ends the program."""
    loop = asyncio.get_running_loop()

    def once() -> None:
        loop.remove_signal_handler(signal.SIGINT)
        stop()

    try:
        loop.add_signal_handler(signal.SIGINT, once)
    except (NotImplementedError, ValueError, RuntimeError):  # Windows, and threads that are not the main one
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
