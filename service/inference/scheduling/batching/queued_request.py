"""What waits in a batcher: the inputs of requests, and the outputs that they get."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from service.access.metering import Meter
from service.errors import UnrollError
from service.inference.scheduling.fair_share import Turn
from service.observability.timings import Timings


class Output(NamedTuple):
    """The result of one input, with the timings of its batch in seconds."""

    value: Any
    queue_s: float
    run_s: float
    batch_size: int


def timings_of(started_s: float, queued_s: float, ran_s: float, outputs: Sequence[Output]) -> Timings:
    """The stages of a request that ends now. Times are `time.monotonic()`'s: begun, queued, and back from the runs."""
    ended_s = time.monotonic()
    last = outputs[0] if len(outputs) == 1 else max(outputs, key=lambda output: output.queue_s + output.run_s)
    return Timings(
        preprocess_ms=round((queued_s - started_s) * 1000, 3),
        queue_ms=round(last.queue_s * 1000, 3),
        inference_ms=round(last.run_s * 1000, 3),
        postprocess_ms=round((ended_s - ran_s) * 1000, 3),
        total_ms=round((ended_s - started_s) * 1000, 3),
        batch_size=last.batch_size if len(outputs) == 1 else max([output.batch_size for output in outputs]),
    )


@dataclass(eq=False, slots=True)
class Request:
    """The inputs of one caller, which may be split over several batches. `outputs` is in the order of the inputs.

    `is_running` is true once a lane has taken the first input. `meter` counts for whoever sent it.
    """

    result: asyncio.Future[list[Output]]
    outputs: list[Output | None]
    num_missing: int
    turn: Turn
    deadline_s: float
    meter: Meter | None = None
    is_running: bool = False


@dataclass(eq=False, slots=True)
class WorkItem:
    """One queued input. Times are those of `time.monotonic()`."""

    example: Any
    length: int
    enqueued_s: float
    deadline_s: float
    request: Request = field(repr=False)
    index: int = 0

    @property
    def is_cancelled(self) -> bool:
        return self.request.result.done()


def finish(request: Request) -> None:
    """Give a request its outputs, none of which is missing, unless it has ended."""
    if not request.result.done():
        request.result.set_result(request.outputs)  # type: ignore[arg-type]  # none is missing


def fail(items: Sequence[WorkItem], error: UnrollError) -> None:
    """Fail every request that is still waiting."""
    for item in items:
        if not item.request.result.done():
            item.request.result.set_exception(error)
