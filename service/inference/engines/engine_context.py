"""The engine context: what all engines of a service share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import TypeVar

from service.inference.runtime.precision import WantedPrecision
from service.inference.scheduling.batch_policy import BatchLimits
from service.inference.scheduling.continuous_batcher import StepLimits
from service.inference.scheduling.lanes import Lanes
from service.observability.metrics import Metrics

T = TypeVar("T")

#: Preprocessing of more text than this runs in a thread, so that a large request does not delay small ones.
_INLINE_CHARACTERS = 2_000


@dataclass(frozen=True)
class EngineOptions:
    """Options of all engines. `device` is auto, cpu, cuda or cuda:N; `num_lanes=0` chooses by the device."""

    device: str = "auto"
    precision: WantedPrecision = "auto"
    num_lanes: int = 0
    batch: BatchLimits = field(default_factory=BatchLimits)
    max_queue_items: int = 1024
    max_live_rows: int = 64
    max_stream_backlog_events: int = 1024
    prefix_cache_bytes: int = 0
    prefix_checkpoint_tokens: int = 128

    @property
    def steps(self) -> StepLimits:
        """The same limits, for continuous batchers."""
        return StepLimits(self.max_queue_items, self.max_live_rows, self.max_stream_backlog_events, self.batch)


@dataclass(frozen=True)
class EngineContext:
    """The lanes, a thread for preprocessing long texts, the options and the metrics."""

    lanes: Lanes
    text_pool: Executor
    options: EngineOptions
    metrics: Metrics

    async def on_text(self, num_characters: int, work: Callable[[], T]) -> T:
        """Run work on a text: directly if the text is short, in a thread if it is long."""
        if num_characters <= _INLINE_CHARACTERS:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self.text_pool, work)
