"""Embeddings of inputs: a batcher of their own for each model, made when it is first used.

Texts of different requests share a run, as for predictions; the run is of the one graph that gives the hidden state.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from service.access.metering import meter_var
from service.bundle.manifest import Manifest
from service.bundle.padding import FloatArray
from service.errors import InferenceFailed, InvalidInput, NotReady, UnrollError
from service.inference.scheduling.batcher import Batcher
from service.inference.scheduling.batching.queued_request import Output, timings_of
from service.observability.inference_statistics import InferenceStatistics, RunTotals
from service.observability.metrics import Metrics
from service.observability.timings import Timings
from service.tasks.core.hidden import EmbeddingTask, require_hidden
from service.tasks.inputs.json_input import ReadInput, effort_of
from service.tasks.inputs.request_limits import RequestLimits, SampleCount

#: An input of `POST /predict`, or the ids of a text's tokens.
EmbeddingInput = ReadInput | Sequence[int]
#: From examples to a vector for each.
EmbeddingRun = Callable[[Sequence[Any]], Sequence[Any]]


class ForEach(Protocol):
    """`EngineContext.for_each`."""

    def __call__(
        self, efforts: Sequence[int], work: Callable[[int], Any], deadline_s: float, caller: str = ""
    ) -> Awaitable[list[Any]]: ...


class Embeddings(NamedTuple):
    """float32 `[inputs, width]`, the tokens of all inputs, and how long it took."""

    vectors: FloatArray
    num_tokens: int
    timings: Timings


class EmbeddingQueue:
    """A batcher that is made for the first request: most models never have one."""

    def __init__(self, open_batcher: Callable[[EmbeddingRun], Batcher], run: EmbeddingRun) -> None:
        self._open_batcher = open_batcher
        self._run = run
        self._batcher: Batcher | None = None
        self._is_closed = False

    @property
    def batcher(self) -> Batcher | None:
        """None before the first request."""
        return self._batcher

    def submit(self, examples: Sequence[Any], deadline_s: float, caller: str) -> Awaitable[list[Output]]:
        """See `Batcher.submit`. Raises Overloaded, NotReady."""
        if self._is_closed:
            raise NotReady("this version is no longer served", cause="draining")
        if self._batcher is None:
            self._batcher = self._open_batcher(self._run)
        return self._batcher.submit(examples, deadline_s, caller)

    async def close(self) -> None:
        """Take no more requests; those that wait get NotReady."""
        self._is_closed = True
        if self._batcher is not None:
            await self._batcher.close()


class Embedder:
    """The embeddings of one bundle. Create and use it inside a running event loop."""

    def __init__(
        self,
        manifest: Manifest,
        task: EmbeddingTask[Any],
        queue: EmbeddingQueue,
        for_each: ForEach,
        limits: RequestLimits,
        metrics: Metrics,
        statistics: InferenceStatistics,
    ) -> None:
        self._manifest = manifest
        self._task = task
        self._queue = queue
        self._for_each = for_each
        self._limits = limits
        self._statistics = statistics
        self._reading = (metrics.read_tokens.labels(manifest.name), metrics.unknown_tokens.labels(manifest.name))

    @property
    def num_pending(self) -> int:
        """Inputs that wait or run."""
        return 0 if self._queue.batcher is None else self._queue.batcher.num_pending

    @property
    def runs(self) -> list[RunTotals]:
        """The runs for embeddings."""
        return [] if self._queue.batcher is None else [self._queue.batcher.runs]

    async def embed(self, inputs: Sequence[EmbeddingInput], deadline_s: float, caller: str = "") -> Embeddings:
        """One vector for each input, in order.

        Raises:
            InvalidInput: the bundle gives no embedding; or an input is refused: its path begins with `inputs`.
            Overloaded, NotReady, DeadlineExceeded, InferenceFailed.
        """
        started_s = time.monotonic()
        try:
            require_hidden(self._manifest, ("model",))
            embeddings = await self._embed(started_s, inputs, deadline_s, caller)
        except UnrollError:
            self._statistics.fail(started_s)
            raise
        self._statistics.succeed(embeddings.timings, len(inputs))
        return embeddings

    async def close(self) -> None:
        """Take no more requests; those that wait get NotReady."""
        await self._queue.close()

    async def _embed(
        self, started_s: float, inputs: Sequence[EmbeddingInput], deadline_s: float, caller: str
    ) -> Embeddings:
        examples = await self._examples(inputs, deadline_s, caller)
        queued_s = time.monotonic()
        outputs = await self._queue.submit(examples, deadline_s, caller)
        ran_s = time.monotonic()
        vectors = np.stack([output.value for output in outputs]).astype(np.float32, copy=False)
        if not np.isfinite(vectors).all():
            raise InferenceFailed("the model computed a hidden state that is not of finite numbers")
        num_tokens = self._count(examples)
        return Embeddings(vectors, num_tokens, timings_of(started_s, queued_s, ran_s, outputs))

    async def _examples(self, inputs: Sequence[EmbeddingInput], deadline_s: float, caller: str) -> list[Any]:
        samples = SampleCount(self._limits)

        def read(index: int) -> Any:
            item = inputs[index]
            try:
                return self._task.embedding_example(samples.plain(item))
            except InvalidInput as error:
                raise error.under("inputs", index) from error

        try:
            self._limits.require_pixels(inputs)
            examples = await self._for_each([_effort_of(item) for item in inputs], read, deadline_s, caller)
            self._limits.require_tokens(sum([example.length for example in examples]), len(examples))
        except InvalidInput as error:
            raise error if error.field[:1] == ("inputs",) else error.under("inputs") from error
        return examples

    def _count(self, examples: Sequence[Any]) -> int:
        """The tokens of the inputs, which are counted for the metrics and for whoever asked."""
        statistics = [self._task.input_statistics(example) for example in examples]
        num_tokens = sum([one.num_tokens for one in statistics])
        self._reading[0].inc(num_tokens)
        self._reading[1].inc(sum([one.num_unknown for one in statistics]))
        if (meter := meter_var.get()) is not None:
            meter.charge(self._manifest.name, read_tokens=num_tokens)
        return num_tokens


def _effort_of(item: EmbeddingInput) -> int:
    if isinstance(item, list) and item and isinstance(item[0], int):
        return len(item)
    return effort_of(item)  # type: ignore[arg-type]  # these are no ids
