"""The engine of `POST /predict`: preprocessing, queue, inference and postprocessing in one call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple, Protocol

from service.access.metering import meter_var
from service.errors import InvalidInput, Overloaded, UnrollError
from service.inference.engines.engine import OpenBundle
from service.inference.engines.engine_context import EngineContext, is_small
from service.inference.scheduling.batcher import Batcher
from service.inference.scheduling.batching.queued_request import Output, timings_of
from service.inference.scheduling.continuous_batcher import ContinuousBatcher
from service.inference.scheduling.fair_share import BACKGROUND
from service.inference.scheduling.step_queue import StepQueue
from service.observability.inference_statistics import InferenceStatistics, RunTotals
from service.observability.scrape.speech_series import SpeechSeries
from service.observability.timings import Timings
from service.tasks.core.chunk_state import require_chunks
from service.tasks.core.parameters import check_parameters
from service.tasks.core.predict_task import ChunkReader, InputState, PredictTask
from service.tasks.core.task import AnswerStatistics, InputStatistics, PredictInput
from service.tasks.inputs.json_input import ReadInput, ReadInputs, effort_of, effort_of_numbers, items_of
from service.tasks.inputs.request_limits import SampleCount


class Queue(Protocol):
    """Takes examples and returns outputs: a `Batcher`, or a continuous batcher behind a `StepQueue`."""

    @property
    def is_alive(self) -> bool: ...
    @property
    def num_pending(self) -> int: ...
    @property
    def runs(self) -> RunTotals: ...
    def submit(self, examples: Sequence[Any], deadline_s: float, caller: str = "") -> asyncio.Future[list[Output]]: ...
    @property
    def num_waiting(self) -> int: ...
    def refusal(self, num_items: int, caller: str = "") -> Overloaded | None: ...
    async def close(self) -> None: ...


class Prediction(NamedTuple):
    """One answer per input, in order, as JSON values; for a chunk all answers to it, and the state to continue from.

    `outputs` are what the task computed for each input before it was written as JSON, `sound_s` is the duration of the
    sounds that were new, 0 if there were none.
    """

    answers: list[Any]
    timings: Timings
    state: InputState | None = None
    outputs: Sequence[Output] = ()
    sound_s: float = 0.0


class _Asked(NamedTuple):
    """One request: its inputs, how much work each of them is, until when it is worth answering, and who asks."""

    inputs: ReadInputs | None
    efforts: list[int]
    deadline_s: float
    caller: str


class _Statistics(NamedTuple):
    """Statistics of one input and its answer, for the metrics."""

    input_statistics: InputStatistics
    answer_statistics: AnswerStatistics


#: From a value and checked parameters to an example.
Encode = Callable[[PredictInput, Any], Any]

OnAnswer = Callable[[ReadInputs, Mapping[str, Any], Prediction], None]


class PredictEngine:
    """Serves one model of `POST /predict`. Create and use it inside a running event loop."""

    def __init__(self, opened: OpenBundle, task: PredictTask[Any, Any], context: EngineContext) -> None:
        self.opened = opened
        self.task = task
        #: Gets the inputs, parameters and answers of every request, for shadow traffic.
        self.on_answer: OnAnswer | None = None
        self._context = context
        model = opened.bundle.manifest.name
        self._queue = _queue(opened, task, context)
        #: Runs of single graphs, on tensors that a caller made.
        self.graphs = context.graph_queues(opened)
        self.statistics = InferenceStatistics()
        self.embedder = context.embedder(opened, task, self.statistics)
        metrics = context.metrics
        self._reads_sound = opened.bundle.manifest.reads_sound
        self._stage_durations = metrics.stage_duration.of_predictions(model)
        self._label_counts = metrics.label_counts(model)
        self._confidence = metrics.prediction_confidence.labels(model)
        self._read_tokens, self._unknown_tokens = (
            metrics.read_tokens.labels(model),
            metrics.unknown_tokens.labels(model),
        )

    @cached_property
    def speech(self) -> SpeechSeries:
        """What the metrics say of sound."""
        return self._context.metrics.speech.of(self.opened.bundle.manifest.name)

    @property
    def is_alive(self) -> bool:
        return self._queue.is_alive

    @property
    def num_pending(self) -> int:
        return self._queue.num_pending + self.graphs.num_pending + self.embedder.num_pending

    @property
    def num_waiting(self) -> int:
        return self._queue.num_waiting

    def refusal(self, caller: str = "") -> Overloaded | None:
        return self._queue.refusal(1, caller)

    @property
    def runs(self) -> RunTotals:
        """The runs of all graphs."""
        return RunTotals.merged([self._queue.runs, *self.graphs.runs, *self.embedder.runs])

    async def predict(
        self, inputs: ReadInputs, parameters: Mapping[str, Any], deadline_s: float, caller: str = ""
    ) -> Prediction:
        """Answer one input, or several at once. `deadline_s` is on `time.monotonic()`'s clock.

        Requests take turns, and so do callers.

        Raises:
            InvalidInput, Overloaded, NotReady, DeadlineExceeded, InferenceFailed.
        """
        started_s = time.monotonic()
        try:
            asked = _Asked(inputs, _efforts_of(inputs), deadline_s, caller)
            if is_small(asked.efforts) and isinstance(inputs, str):
                examples = [self._preprocess_text(inputs, parameters)]
            else:
                examples = await self._preprocess(asked, inputs, parameters, self.task.preprocess)
            prediction = await self._answer(started_s, asked, examples)
        except UnrollError:
            self.statistics.fail(started_s)
            raise
        if self.on_answer is not None:
            self.on_answer(inputs, parameters, prediction)
        return prediction

    async def predict_chunk(
        self,
        inputs: ReadInputs | None,
        parameters: Mapping[str, Any],
        deadline_s: float,
        before: InputState | bytes | None,
        caller: str = "",
        is_last: bool = False,
    ) -> Prediction:
        """Answer the next chunk of an input.

        Args:
            inputs: what is new; None for nothing, which only the last chunk of a sound may be.
            before: the state after the chunk before it, or its bytes; None for the first.
            is_last: whether the input ends here; then there may be no state after it.

        Raises:
            InvalidInput: the bundle cannot read in chunks, or there is more than one input.
            StateRefused: `before` is not a state of this bundle.
            Overloaded, NotReady, DeadlineExceeded, InferenceFailed.
        """
        started_s = time.monotonic()
        try:
            require_chunks(self.opened.bundle.manifest, ("state",) if before is not None else ("return_state",))
            reader = self.task.chunks
            assert reader is not None, "a bundle reads chunks only if its task does"
            asked = _Asked(inputs, [] if inputs is None else _efforts_of(inputs), deadline_s, caller)
            return await self._predict_chunk(started_s, reader, asked, parameters, before, is_last)
        except UnrollError:
            self.statistics.fail(started_s)
            raise

    async def _predict_chunk(
        self,
        started_s: float,
        reader: ChunkReader[Any, Any, Any],
        asked: _Asked,
        parameters: Mapping[str, Any],
        before: InputState | bytes | None,
        is_last: bool,
    ) -> Prediction:
        def chunk(value: PredictInput | None, checked: Any) -> Any:
            return reader.chunk(value, checked, before, is_last)

        if asked.inputs is None:
            examples = [chunk(None, check_parameters(self.task.parameters_type, parameters))]
        else:
            examples = await self._preprocess(asked, asked.inputs, parameters, chunk)
        if len(examples) != 1:
            raise InvalidInput("a text that comes in chunks is sent one chunk at a time", ("inputs",))
        prediction = await self._answer(started_s, asked, examples)
        state = reader.state_after(examples[0], prediction.outputs[0].value)
        return prediction._replace(answers=reader.answers(prediction.answers[0]), state=state)

    async def close(self) -> None:
        await self._queue.close()
        await self.graphs.close()
        await self.embedder.close()

    async def _answer(self, started_s: float, asked: _Asked, examples: Sequence[Any]) -> Prediction:
        """Run the examples, and write the answers."""
        queued_s = time.monotonic()
        outputs = await self._queue.submit(examples, asked.deadline_s, asked.caller)
        ran_s = time.monotonic()
        efforts = self._efforts_of_writing(asked, examples)
        if is_small(efforts):
            written = [self._written(example, output) for example, output in zip(examples, outputs, strict=True)]
        else:
            written = await self._context.for_each(
                efforts,
                lambda index: self._written(examples[index], outputs[index]),
                asked.deadline_s,
                asked.caller,
            )
        timings = timings_of(started_s, queued_s, ran_s, outputs)
        if asked.caller != BACKGROUND:  # shadow traffic is no traffic of the model's
            self._observe(timings, [notes for _, notes in written])
            self.statistics.succeed(timings, len(examples))
        sound_s = self._sound_of(examples, timings) if self._reads_sound else 0.0
        return Prediction([answer for answer, _ in written], timings, outputs=outputs, sound_s=sound_s)

    def _efforts_of_writing(self, asked: _Asked, examples: Sequence[Any]) -> list[int]:
        """The work of writing each answer: about that of reading its input, and more where it has many numbers."""
        sizes = [self.task.answer_size(example) for example in examples]
        if not any(sizes):
            return asked.efforts
        return [max(*pair) for pair in zip(asked.efforts, [effort_of_numbers(size) for size in sizes], strict=True)]

    def _sound_of(self, examples: Sequence[Any], timings: Timings) -> float:
        """The duration of the sounds, which is counted."""
        sound_s = sum([self.task.sound_s(example) for example in examples])
        self.speech.read(sound_s, timings.total_ms / 1000)
        return sound_s

    def _preprocess_text(self, text: str, parameters: Mapping[str, Any]) -> Any:
        """`_preprocess` for one short text, which most requests have."""
        checked = check_parameters(self.task.parameters_type, parameters)
        try:
            example = self.task.preprocess(text, checked)
            self._context.options.request.require_tokens(example.length, 1)
        except InvalidInput as error:
            if error.field[:1] == ("parameters",):
                raise
            raise error.under("inputs") from error
        return example

    async def _preprocess(
        self, asked: _Asked, inputs: ReadInputs, parameters: Mapping[str, Any], encode: Encode
    ) -> list[Any]:
        """The inputs as examples, each checked, and all together against the limits of a request."""
        limits = self._context.options.request
        checked = check_parameters(self.task.parameters_type, parameters)
        items, samples = items_of(inputs), SampleCount(limits)
        try:
            limits.require_pixels(items)
        except InvalidInput as error:
            raise error.under("inputs") from error

        def preprocess(index: int) -> Any:
            path = ("inputs",) if items is not inputs else ("inputs", index)
            return _preprocess_one(items[index], encode, checked, path, samples)

        examples = await self._context.for_each(asked.efforts, preprocess, asked.deadline_s, asked.caller)
        try:
            limits.require_tokens(sum([example.length for example in examples]), len(examples))
            limits.require_numbers(sum([self.task.answer_size(example) for example in examples]))
        except InvalidInput as error:
            raise error.under("inputs") from error
        return examples

    def _written(self, example: Any, output: Output) -> tuple[Any, _Statistics]:
        """The answer to one input, and what the metrics say about both."""
        answer = self.task.plain_answer(example, output.value)
        return answer, _Statistics(self.task.input_statistics(example), self.task.answer_statistics(answer))

    def _observe(self, timings: Timings, notes: Sequence[_Statistics]) -> None:
        self._stage_durations.keep(timings)
        if (meter := meter_var.get()) is not None:
            num_tokens = sum([one.input_statistics.num_tokens for one in notes])
            meter.charge(self.opened.bundle.manifest.name, read_tokens=num_tokens)
        for input_statistics, answer_statistics in notes:
            self._read_tokens.inc(input_statistics.num_tokens)
            if input_statistics.num_unknown:
                self._unknown_tokens.inc(input_statistics.num_unknown)
            for label in answer_statistics.labels:
                self._label_counts[label] += 1
            if answer_statistics.confidence is not None:
                self._confidence.observe(answer_statistics.confidence)


def _preprocess_one(
    item: ReadInput, encode: Encode, parameters: Any, path: tuple[str | int, ...], samples: SampleCount
) -> Any:
    try:
        return encode(samples.plain(item), parameters)
    except InvalidInput as error:
        if error.field[:1] == ("parameters",):
            raise
        raise error.under(*path) from error


def _efforts_of(inputs: ReadInputs) -> list[int]:
    return [len(inputs)] if isinstance(inputs, str) else [effort_of(item) for item in items_of(inputs)]


def _queue(opened: OpenBundle, task: PredictTask[Any, Any], context: EngineContext) -> Queue:
    """A continuous batcher for a task that runs in steps, a batcher for one that runs in a single pass."""
    model, options = opened.bundle.manifest.name, context.options
    if (steps := task.steps) is not None:
        batcher = ContinuousBatcher(
            model,
            steps.batch,
            opened.runner,
            context.lanes,
            options.steps,
            context.metrics,
            steps.count_tokens,
        )
        return StepQueue(batcher)
    return Batcher(
        model,
        lambda examples: task.run(opened.runner, examples),
        context.lanes,
        replace(options.batch, equal_lengths=task.equal_lengths),
        options.max_queue_items,
        context.metrics,
    )
