"""The interface of a `Batcher` over a continuous batcher: for tasks that run in steps and answer only at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from service.errors import Overloaded
from service.inference.scheduling.batching.queued_request import Output
from service.inference.scheduling.continuous_batcher import LONG_TOKENS, ContinuousBatcher
from service.inference.scheduling.fair_share import SEVERAL_RUNS_S
from service.inference.scheduling.stream import Stream
from service.observability.inference_statistics import RunTotals

#: Examples of a request that may join at once without another request having its turn before.
_FEW = 8


class StepQueue:
    """Takes examples and returns one output for each, as a `Batcher` does."""

    def __init__(self, batcher: ContinuousBatcher[Any]) -> None:
        self._batcher = batcher

    @property
    def is_alive(self) -> bool:
        return self._batcher.is_alive

    @property
    def num_pending(self) -> int:
        return self._batcher.num_pending

    @property
    def runs(self) -> RunTotals:
        return self._batcher.runs

    @property
    def num_waiting(self) -> int:
        return self._batcher.num_waiting

    def refusal(self, num_items: int, caller: str = "") -> Overloaded | None:
        """The refusal of so many examples, if they do not fit the queue."""
        return self._batcher.refusal(num_items, caller)

    def submit(self, examples: Sequence[Any], deadline_s: float, caller: str = "") -> asyncio.Future[list[Output]]:
        """Queue examples, all or none; the future has one output each, in order. Cancel it to drop them.

        Raises:
            Overloaded: they do not fit the queue.
            NotReady: the batcher has stopped.
        """
        self._batcher.require_room(len(examples), caller)
        # One turn for all of them: they are one request.
        is_long = len(examples) > _FEW or any(example.length > LONG_TOKENS for example in examples)
        turn = self._batcher.share.begin(caller, SEVERAL_RUNS_S if is_long else 0.0)
        streams = [self._batcher.submit(example, deadline_s, caller, turn) for example in examples]

        def end(_: object) -> None:
            _close(streams)
            self._batcher.share.end(turn)

        outputs = asyncio.ensure_future(self._outputs(streams))
        outputs.add_done_callback(end)  # also if it is cancelled before it has started
        return outputs

    async def close(self) -> None:
        await self._batcher.close()

    async def _outputs(self, streams: Sequence[Stream[Any]]) -> list[Output]:
        return [self._output(stream, await stream.result()) for stream in streams]

    def _output(self, stream: Stream[Any], value: Any) -> Output:
        queue_s, run_s = stream.started_s - stream.enqueued_s, stream.ended_s - stream.started_s
        return Output(value, queue_s, run_s, max(1, self._batcher.num_live))


def _close(streams: Sequence[Stream[Any]]) -> None:
    for stream in streams:
        stream.close()
