"""A stepper for callers who only want the end: translation answers through it as other tasks do through batches."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from service.inference.scheduling.batcher import Output
from service.inference.scheduling.continuous_batcher import ContinuousBatcher
from service.inference.scheduling.stream import Stream


class StepQueue:
    """Takes examples and gives one output for each, like a `Batcher`."""

    def __init__(self, stepper: ContinuousBatcher[Any]) -> None:
        self._stepper = stepper

    @property
    def is_alive(self) -> bool:
        return self._stepper.is_alive

    @property
    def num_pending(self) -> int:
        return self._stepper.num_pending

    def submit(self, examples: Sequence[Any], deadline_s: float) -> asyncio.Future[list[Output]]:
        """Queue examples, all or none; the future has one output each, in order. Cancel it to drop them.

        Raises:
            Overloaded: they do not fit the queue.
            NotReady: the stepper has stopped.
        """
        self._stepper.require_room(len(examples))
        streams = [self._stepper.submit(example, deadline_s) for example in examples]
        outputs = asyncio.ensure_future(self._outputs(streams))
        outputs.add_done_callback(lambda _: _close(streams))  # however it ends, also before it has begun
        return outputs

    async def close(self) -> None:
        await self._stepper.close()

    async def _outputs(self, streams: Sequence[Stream[Any]]) -> list[Output]:
        return [self._output(stream, await stream.result()) for stream in streams]

    def _output(self, stream: Stream[Any], value: Any) -> Output:
        queue_s, run_s = stream.started_s - stream.enqueued_s, stream.ended_s - stream.started_s
        return Output(value, queue_s, run_s, max(1, self._stepper.num_live))


def _close(streams: Sequence[Stream[Any]]) -> None:
    for stream in streams:
        stream.close()
