"""The engine context: what all engines of a service share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any, TypeVar

from service.inference.engines.engine import OpenBundle
from service.inference.runtime.precision import WantedPrecision
from service.inference.scheduling.batch_policy import BatchLimits
from service.inference.scheduling.batcher import Batcher
from service.inference.scheduling.continuous_batcher import StepLimits
from service.inference.scheduling.embedder import Embedder, EmbeddingQueue, EmbeddingRun
from service.inference.scheduling.graph_queues import GraphQueues, GraphRun
from service.inference.scheduling.lanes import Lanes
from service.inference.scheduling.preparation import Preparation
from service.observability.inference_statistics import InferenceStatistics
from service.observability.metrics import Metrics
from service.tasks.core.hidden import EmbeddingTask
from service.tasks.inputs.request_limits import RequestLimits

T = TypeVar("T")

#: Preprocessing of more text than this runs in a thread, so that a large request does not delay small ones. It is also
#: the least work of a piece, after which another request has its turn there.
_INLINE_CHARACTERS = 2_000

#: The effort of work that must not hold up the event loop, whatever the length of its text.
LARGE_EFFORT = _INLINE_CHARACTERS + 1


@dataclass(frozen=True)
class EngineOptions:
    """Options of all engines. `device` is auto, cpu, cuda or cuda:N; `num_lanes=0` chooses by the device.

    `keeps_texts`: inputs that shadow traffic answers differently may be logged and reported.
    `model_memory_bytes`: bundles are opened on demand, as many as fit; 0: all of them at the start.
    `weights` are those of callers whose share of the lanes is another than 1; they may change at any time.
    """

    device: str = "auto"
    precision: WantedPrecision = "auto"
    num_lanes: int = 0
    weights: Mapping[str, float] = field(default_factory=dict)
    batch: BatchLimits = field(default_factory=BatchLimits)
    max_queue_items: int = 1024
    max_live_rows: int = 64
    max_stream_backlog_events: int = 1024
    prefix_cache_bytes: int = 0
    prefix_checkpoint_tokens: int = 128
    keeps_texts: bool = False
    model_memory_bytes: int = 0
    request: RequestLimits = field(default_factory=RequestLimits)

    @property
    def steps(self) -> StepLimits:
        """The same limits, for continuous batchers."""
        return StepLimits(self.max_queue_items, self.max_live_rows, self.max_stream_backlog_events, self.batch)


@dataclass(frozen=True)
class EngineContext:
    """The lanes, threads for preparing large inputs, the options and the metrics."""

    lanes: Lanes
    preparation: Preparation
    options: EngineOptions
    metrics: Metrics

    async def for_each(
        self, efforts: Sequence[int], work: Callable[[int], T], deadline_s: float, caller: str = ""
    ) -> list[T]:
        """`work(index)` for each input: directly if all are small, in threads and piece by piece if not.

        `efforts` are in characters of text, one for each input. Raises DeadlineExceeded, and what `work` raises.
        """
        if is_small(efforts):
            return [work(index) for index in range(len(efforts))]
        pieces = [partial(_work_on, work, indices) for indices in _pieces(efforts)]
        return list(chain.from_iterable(await self.preparation.run(pieces, deadline_s, caller)))

    def graph_queues(self, opened: OpenBundle) -> GraphQueues:
        """Queues for runs of single graphs of a bundle, within the limits of its other requests."""
        manifest, options = opened.bundle.manifest, self.options

        def open_batcher(run: GraphRun) -> Batcher:
            return Batcher(manifest.name, run, self.lanes, options.batch, options.max_queue_items, self.metrics)

        return GraphQueues(opened.runner, manifest.graphs, open_batcher)

    def embedder(self, opened: OpenBundle, task: EmbeddingTask[Any], statistics: InferenceStatistics) -> Embedder:
        """Embeddings of a bundle, within the limits of its other requests."""
        manifest, options = opened.bundle.manifest, self.options

        def open_batcher(run: EmbeddingRun) -> Batcher:
            return Batcher(manifest.name, run, self.lanes, options.batch, options.max_queue_items, self.metrics)

        queue = EmbeddingQueue(open_batcher, lambda examples: task.embed(opened.runner, examples))
        return Embedder(manifest, task, queue, self.for_each, options.request, self.metrics, statistics)


def is_small(efforts: Sequence[int]) -> bool:
    """Whether so much work, in characters of text for each input, may be done on the event loop."""
    return sum(efforts) <= _INLINE_CHARACTERS


def _work_on(work: Callable[[int], T], indices: range) -> list[T]:
    return [work(index) for index in indices]


def _pieces(efforts: Sequence[int]) -> list[range]:
    """Inputs that are worked on in one go: neighbours, until they are work enough."""
    pieces, start, effort = [], 0, 0
    for index, more in enumerate(efforts):
        effort += more
        if effort > _INLINE_CHARACTERS or index + 1 == len(efforts):
            pieces.append(range(start, index + 1))
            start, effort = index + 1, 0
    return pieces
