"""One loaded bundle, ready for requests: preprocessing, queue, graph and postprocessing behind one call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from service.errors import DeadlineExceeded, InvalidInput
from service.inference.batch_policy import BatchLimits
from service.inference.batcher import Batcher, Output
from service.inference.direct import OpenBundle
from service.inference.ort_runner import Provider
from service.inference.stepper import Stepper, Stream
from service.metrics import Metrics
from service.tasks.base import Answer, PredictTask
from service.tasks.generation import Generation
from service.tasks.generation_parameters import GenerationParameters
from service.tasks.parameters import check_parameters

T = TypeVar("T")
PredictInput = str | Sequence[str]

#: Work on more text than this leaves the event loop, so that a large request does not hold up small ones.
_INLINE_CHARACTERS = 2_000


@dataclass(frozen=True)
class EngineOptions:
    """How engines run. `threads=0` means all the cores that the process may use."""

    provider: Provider = "auto"
    threads: int = 0
    batch: BatchLimits = field(default_factory=BatchLimits)
    max_queue_items: int = 1024
    max_live_streams: int = 64
    max_stream_backlog_events: int = 1024


@dataclass(frozen=True)
class Timings:
    """Where the time of one request went, in milliseconds.

    A request with several inputs may ride in several batches: queue and inference are those of the last to finish,
    and `batch_size` is that of the largest.
    """

    preprocess_ms: float
    queue_ms: float
    inference_ms: float
    postprocess_ms: float
    total_ms: float
    batch_size: int


@dataclass(frozen=True)
class Prediction:
    """One answer per input, in order."""

    answers: list[Answer]
    timings: Timings


class PredictEngine:
    """A tagger, classifier or translator that takes requests. Create and use it inside a running event loop."""

    def __init__(
        self, opened: OpenBundle, task: PredictTask[Any, Any], options: EngineOptions, metrics: Metrics
    ) -> None:
        self.opened = opened
        self.task = task
        model = opened.bundle.manifest.name
        self._batcher = Batcher(
            model, lambda examples: task.run(opened.runner, examples), options.batch, options.max_queue_items, metrics
        )
        self._text_pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"text-{model}")
        self._stage_duration = {
            stage: metrics.stage_duration.labels(model, stage)
            for stage in ("preprocess", "queue", "inference", "postprocess")
        }

    @property
    def is_alive(self) -> bool:
        return self._batcher.is_alive

    @property
    def num_pending(self) -> int:
        return self._batcher.num_pending

    async def predict(
        self, inputs: str | Sequence[PredictInput], parameters: Mapping[str, Any], deadline_s: float
    ) -> Prediction:
        """Answer one text, or several inputs at once. `deadline_s` is on `time.monotonic()`'s clock.

        Raises:
            InvalidInput, Overloaded, NotReady, DeadlineExceeded, InferenceFailed.
        """
        started_s = time.monotonic()
        checked = check_parameters(self.task.parameters_type, parameters)
        num_characters = _num_characters(inputs)
        examples = await self._on_text(num_characters, lambda: self._preprocess(inputs, checked))
        queued_s = time.monotonic()
        outputs = await self._run(examples, deadline_s)
        ran_s = time.monotonic()
        answers = await self._on_text(num_characters, lambda: self._postprocess(examples, outputs))
        timings = _timings(started_s, queued_s, ran_s, outputs)
        self._observe(timings)
        return Prediction(answers, timings)

    async def close(self) -> None:
        await self._batcher.close()
        self._text_pool.shutdown(wait=False)

    async def _run(self, examples: Sequence[Any], deadline_s: float) -> list[Output]:
        async with deadline(deadline_s):
            futures = self._batcher.submit([(example, example.length) for example in examples], deadline_s)
            return list(await asyncio.gather(*futures))

    async def _on_text(self, num_characters: int, work: Callable[[], T]) -> T:
        if num_characters <= _INLINE_CHARACTERS:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._text_pool, work)

    def _preprocess(self, inputs: str | Sequence[PredictInput], parameters: Any) -> list[Any]:
        if isinstance(inputs, str):
            return [self._preprocess_one(inputs, parameters, ("inputs",))]
        return [self._preprocess_one(value, parameters, ("inputs", index)) for index, value in enumerate(inputs)]

    def _preprocess_one(self, value: PredictInput, parameters: Any, path: tuple[str | int, ...]) -> Any:
        try:
            return self.task.preprocess(value, parameters)
        except InvalidInput as error:
            if error.field[:1] == ("parameters",):
                raise
            raise error.under(*path) from error

    def _postprocess(self, examples: Sequence[Any], outputs: Sequence[Output]) -> list[Answer]:
        return [self.task.postprocess(e, output.value) for e, output in zip(examples, outputs, strict=True)]

    def _observe(self, timings: Timings) -> None:
        for stage, histogram in self._stage_duration.items():
            histogram.observe(getattr(timings, f"{stage}_ms") / 1000)


class GenerationEngine:
    """A language model that takes requests. Create and use it inside a running event loop."""

    def __init__(self, opened: OpenBundle, task: Generation, options: EngineOptions, metrics: Metrics) -> None:
        self.opened = opened
        self.task = task
        model = opened.bundle.manifest.name
        self._stepper = Stepper(
            model,
            task,
            opened.runner,
            batch=options.batch,
            max_waiting=options.max_queue_items,
            max_live=options.max_live_streams,
            max_backlog_events=options.max_stream_backlog_events,
            metrics=metrics,
        )
        self._text_pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"text-{model}")
        self._stage_duration = {
            stage: metrics.stage_duration.labels(model, stage) for stage in ("preprocess", "queue", "inference")
        }
        self._time_to_first_token = metrics.time_to_first_token.labels(model)

    @property
    def is_alive(self) -> bool:
        return self._stepper.is_alive

    @property
    def num_pending(self) -> int:
        return self._stepper.num_pending

    async def stream(self, prompt: str, parameters: GenerationParameters | None, deadline_s: float) -> Stream:
        """Start to continue a prompt; the caller reads the stream's events and must close it.

        Raises:
            InvalidInput, Overloaded, NotReady. What goes wrong later is raised while the stream is read.
        """
        started_s = time.monotonic()
        wishes = GenerationParameters.when_absent() if parameters is None else parameters
        continuation = await asyncio.get_running_loop().run_in_executor(
            self._text_pool, self.task.start, prompt, wishes
        )
        stream = self._stepper.submit(continuation, deadline_s)
        self._stage_duration["preprocess"].observe(stream.submitted_s - started_s)
        return stream

    def observe(self, stream: Stream) -> None:
        """Note how long a stream that has ended waited, ran, and took to its first token."""
        if stream.first_token_s:
            self._stage_duration["queue"].observe(stream.prefill_started_s - stream.submitted_s)
            self._stage_duration["inference"].observe(stream.ended_s - stream.prefill_started_s)
            self._time_to_first_token.observe(stream.first_token_s - stream.submitted_s)

    async def close(self) -> None:
        await self._stepper.close()
        self._text_pool.shutdown(wait=False)


Engine = PredictEngine | GenerationEngine


def start_engine(opened: OpenBundle, options: EngineOptions, metrics: Metrics) -> Engine:
    """The engine for what the bundle does. Call it inside the event loop that will use it."""
    if isinstance(opened.task, Generation):
        return GenerationEngine(opened, opened.task, options, metrics)
    return PredictEngine(opened, opened.task, options, metrics)


@asynccontextmanager
async def deadline(deadline_s: float) -> AsyncIterator[None]:
    """Cancel what is inside once `time.monotonic()` reaches `deadline_s`. Raises DeadlineExceeded then."""
    remaining_s = deadline_s - time.monotonic()
    try:
        async with asyncio.timeout(remaining_s):
            yield
    except TimeoutError as error:
        raise DeadlineExceeded("the answer was not ready before the request's deadline") from error


def _num_characters(inputs: str | Sequence[PredictInput]) -> int:
    return len(inputs) if isinstance(inputs, str) else sum(map(_num_characters, inputs))


def _timings(started_s: float, queued_s: float, ran_s: float, outputs: Sequence[Output]) -> Timings:
    ended_s = time.monotonic()
    last = max(outputs, key=lambda output: output.queue_s + output.run_s)
    return Timings(
        preprocess_ms=_ms(queued_s - started_s),
        queue_ms=_ms(last.queue_s),
        inference_ms=_ms(last.run_s),
        postprocess_ms=_ms(ended_s - ran_s),
        total_ms=_ms(ended_s - started_s),
        batch_size=max(output.batch_size for output in outputs),
    )


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
