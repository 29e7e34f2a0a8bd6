"""The engine of `POST /generate`: prompts in, streams of tokens out, with recurrent state in and out on request."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from service.access.metering import meter_var
from service.bundle.tokenizer import PlacedToken
from service.errors import InvalidInput, Overloaded
from service.inference.engines.engine import OpenBundle
from service.inference.engines.engine_context import LARGE_EFFORT, EngineContext, EngineOptions
from service.inference.scheduling.continuous_batcher import ContinuousBatcher
from service.inference.scheduling.fair_share import BACKGROUND
from service.inference.scheduling.stream import Stream
from service.inference.state.prefix_cache import PrefixCache
from service.observability.inference_statistics import InferenceStatistics, RunTotals
from service.observability.timings import Timings
from service.tasks.generation.generation import Generation
from service.tasks.generation.options import SamplingOptions
from service.tasks.generation.request import Delivery, GenerationRequest
from service.tasks.generation.stream_state import StreamState

if TYPE_CHECKING:
    from service.inference.state.prefix_lmdb import SharedPrefixCache

logger = logging.getLogger(__name__)

OnText = Callable[[str, SamplingOptions, Stream[GenerationRequest]], None]


class GenerationEngine:
    """Serves one language model. Create and use it inside a running event loop."""

    def __init__(self, opened: OpenBundle, task: Generation, context: EngineContext) -> None:
        self.opened = opened
        self.task = task
        #: Gets the prompt, options and finished stream of every new text, for shadow traffic.
        self.on_answer: OnText | None = None
        self._asked: WeakKeyDictionary[Stream[GenerationRequest], tuple[str, SamplingOptions]] = WeakKeyDictionary()
        self._context = context
        options, metrics = context.options, context.metrics
        model = opened.bundle.manifest.name
        prefixes = self._prefixes = _open_prefixes(opened, options)
        self._forget = metrics.watch_prefixes(model, prefixes)
        self._batcher = ContinuousBatcher(
            model,
            lambda: task.batch(checkpoints=prefixes if options.prefix_cache_bytes else None),
            opened.runner,
            context.lanes,
            options.steps,
            metrics,
            task.count_tokens,
        )
        #: Runs of single graphs, on tensors that a caller made.
        self.graphs = context.graph_queues(opened)
        self.statistics = InferenceStatistics()
        self.embedder = context.embedder(opened, task, self.statistics)
        self._stage_duration = {
            stage: metrics.stage_duration.labels(model, stage) for stage in ("preprocess", "queue", "inference")
        }
        self._time_to_first_token = metrics.time_to_first_token.labels(model)
        self._token_gap = metrics.token_gap.labels(model)
        self._reading = (metrics.read_tokens.labels(model), metrics.unknown_tokens.labels(model))

    @property
    def is_alive(self) -> bool:
        return self._batcher.is_alive

    @property
    def num_pending(self) -> int:
        return self._batcher.num_pending + self.graphs.num_pending + self.embedder.num_pending

    @property
    def num_waiting(self) -> int:
        return self._batcher.num_waiting

    def refusal(self, caller: str = "") -> Overloaded | None:
        return self._batcher.refusal(1, caller)

    @property
    def runs(self) -> RunTotals:
        """The runs of all graphs."""
        return RunTotals.merged([self._batcher.runs, *self.graphs.runs, *self.embedder.runs])

    async def stream(
        self,
        prompt: str | Sequence[int],
        options: SamplingOptions,
        deadline_s: float,
        delivery: Delivery | None = None,
        before: bytes | None = None,
        caller: str = "",
    ) -> Stream[GenerationRequest]:
        """Start to continue a prompt, or the text of a state. The caller reads the stream and must close it.

        The prompt is a text, or the ids of its tokens. Requests take turns, and so do callers.

        Raises:
            InvalidInput, StateRefused, Overloaded, NotReady. Later errors are raised while the stream is read.
        """
        started_s = time.monotonic()
        effort = LARGE_EFFORT if self.task.is_costly(options) else len(prompt)
        (request,) = await self._context.for_each(
            [effort], lambda _: self._begin(prompt, options, delivery, before), deadline_s, caller
        )
        self._require_tokens(request)
        try:
            stream = self._batcher.submit(request, deadline_s, caller)
        except Overloaded:
            self.statistics.fail(started_s)
            raise
        if caller == BACKGROUND:  # shadow traffic is no traffic of the model's
            return stream
        if self.on_answer is not None and isinstance(prompt, str) and before is None and request.num_rows == 1:
            self._asked[stream] = prompt, options
        if (meter := meter_var.get()) is not None:
            meter.charge(self.opened.bundle.manifest.name, read_tokens=request.input_statistics.num_tokens)
        for counter, num_tokens in zip(self._reading, request.input_statistics, strict=True):
            counter.inc(num_tokens)
        self._stage_duration["preprocess"].observe(stream.enqueued_s - started_s)
        return stream

    async def stream_all(
        self,
        asked: Sequence[tuple[str | Sequence[int], SamplingOptions]],
        deadline_s: float,
        delivery: Delivery | None = None,
        before: bytes | None = None,
        caller: str = "",
    ) -> list[Stream[GenerationRequest]]:
        """`stream` for each of several prompts of one request, each with its options; all of them, or none.

        Raises:
            InvalidInput: with the number of the prompt after `inputs`; or the prompts together are too much.
            StateRefused, Overloaded, NotReady.
        """
        streams: list[Stream[GenerationRequest]] = []
        try:
            for number, (prompt, options) in enumerate(asked):
                try:
                    streams.append(await self.stream(prompt, options, deadline_s, delivery, before, caller))
                except InvalidInput as error:
                    raise _numbered(error, number) from error
                self._require_tokens(*(stream.request for stream in streams))
        except BaseException:
            for stream in streams:
                stream.close()
            raise
        return streams

    async def tokenize(self, text: str, deadline_s: float, caller: str = "") -> list[PlacedToken]:
        """The tokens of a text, which may be longer than the model reads at once.

        Raises:
            InvalidInput: it has more characters than a request may have tokens.
            DeadlineExceeded.
        """
        limit = self._context.options.request.max_tokens
        if len(text) > limit:
            message = (
                f"the text has {len(text):,} characters, at most {limit:,} (UNROLL_MAX_TOKENS_PER_REQUEST) are read"
            )
            raise InvalidInput(message, ("inputs",))
        tokenizer = self.opened.bundle.tokenizers["text"]
        (tokens,) = await self._context.for_each(
            [len(text)], lambda _: tokenizer.encode_with_places(text), deadline_s, caller
        )
        return tokens

    def states(self, request: GenerationRequest) -> list[bytes]:
        """The final state of each sequence of a finished request, as bytes."""
        return [state.to_bytes() for state in request.states()]

    def observe(self, stream: Stream[GenerationRequest], exemplar: Mapping[str, str] | None = None) -> None:
        """Record queue time, inference time, time to first token and time per token of a stream that has ended.

        `exemplar` has the trace id of the request, which links the histogram to the trace.
        """
        if stream.end_reason == "finished":
            self.statistics.succeed(_timings(stream), 1)
            self._stage_duration["queue"].observe(stream.started_s - stream.enqueued_s)
            self._stage_duration["inference"].observe(stream.ended_s - stream.started_s)
            self._token_gap.observe(_token_gap_s(stream))
            if self.on_answer is not None and stream in self._asked:
                self.on_answer(*self._asked.pop(stream), stream)
        elif stream.end_reason != "cancelled":
            self.statistics.fail(stream.enqueued_s)
        if stream.first_product_s and stream.request.is_streamed:
            self._time_to_first_token.observe(
                stream.first_product_s - stream.enqueued_s, None if exemplar is None else dict(exemplar)
            )

    async def close(self) -> None:
        self._forget()
        await self._batcher.close()
        await self.graphs.close()
        await self.embedder.close()
        self._prefixes.close()

    def _require_tokens(self, *requests: GenerationRequest) -> None:
        """Raises InvalidInput if there is more to read and to write than one request of a client may have."""
        num_tokens = sum([request.length + request.num_rows * request.max_new_tokens for request in requests])
        try:
            self._context.options.request.require_tokens(num_tokens, len(requests))
        except InvalidInput as error:
            raise InvalidInput(f"to read and to write: {error.message}", ("inputs",)) from error

    def _begin(
        self, prompt: str | Sequence[int], options: SamplingOptions, delivery: Delivery | None, before: bytes | None
    ) -> GenerationRequest:
        if before is None:
            return self.task.start(prompt, options, delivery)
        vocabulary_size = self.opened.bundle.tokenizers["text"].vocabulary_size
        state = StreamState.from_bytes(before, self.task.state_specs, vocabulary_size)
        return self.task.start(prompt, options, delivery, state)


def _open_prefixes(opened: OpenBundle, options: EngineOptions) -> PrefixCache | SharedPrefixCache:
    """The prefix cache of a model: of all workers, or of this process."""
    max_bytes, block_tokens, group = options.prefix_cache_bytes, options.prefix_checkpoint_tokens, options.group
    if group is None or not max_bytes:
        return PrefixCache(max_bytes, block_tokens)
    from service.inference.state.prefix_lmdb import SharedPrefixCache

    manifest = opened.bundle.manifest
    identity = f"{manifest.name} {manifest.version} {opened.identity}"
    try:
        return SharedPrefixCache(group.folder, group.secret(), identity, max_bytes, block_tokens)
    except OSError as error:
        fields = {"model": manifest.name, "reason": str(error)}
        logger.warning("workers cannot share the prefix cache: each has its part of it", extra=fields)
        return PrefixCache(max_bytes // group.count, block_tokens)


def _numbered(error: InvalidInput, number: int) -> InvalidInput:
    """The error of one of several inputs."""
    first, *rest = error.field or ("",)
    return InvalidInput(error.message, (first, number, *rest)) if first == "inputs" else error


def _timings(stream: Stream[GenerationRequest]) -> Timings:
    """Of a stream that has finished, from the moment at which it was queued."""
    queue_ms, run_ms = (stream.started_s - stream.enqueued_s) * 1000, (stream.ended_s - stream.started_s) * 1000
    return Timings(0.0, queue_ms, run_ms, 0.0, queue_ms + run_ms, 1)


def _token_gap_s(stream: Stream[GenerationRequest]) -> float:
    """Mean time per token. Without streaming it is computed from the total time, prefill included."""
    num_tokens = max(len(sequence.produced_ids) for sequence in stream.request.sequences)
    if stream.request.is_streamed and num_tokens > 1:
        return (stream.ended_s - stream.first_product_s) / (num_tokens - 1)
    return (stream.ended_s - stream.started_s) / max(1, num_tokens)
