"""The engine of `POST /generate`: prompts in, streams of tokens out, with recurrent state in and out on request."""

from __future__ import annotations

import time
from collections.abc import Mapping

from service.access.metering import meter_var
from service.errors import InvalidInput
from service.inference.engines.engine import OpenBundle
from service.inference.engines.engine_context import EngineContext
from service.inference.scheduling.continuous_batcher import ContinuousBatcher
from service.inference.scheduling.stream import Stream
from service.inference.state.prefix_cache import PrefixCache
from service.tasks.generation.generation import Generation
from service.tasks.generation.options import SamplingOptions
from service.tasks.generation.request import Delivery, GenerationRequest
from service.tasks.generation.stream_state import StreamState


class GenerationEngine:
    """Serves one language model. Create and use it inside a running event loop."""

    def __init__(self, opened: OpenBundle, task: Generation, context: EngineContext) -> None:
        self.opened = opened
        self.task = task
        self._context = context
        options, metrics = context.options, context.metrics
        model = opened.bundle.manifest.name
        prefixes = PrefixCache(options.prefix_cache_bytes, options.prefix_checkpoint_tokens)
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
        return self._batcher.num_pending

    async def stream(
        self,
        prompt: str,
        options: SamplingOptions,
        deadline_s: float,
        delivery: Delivery | None = None,
        before: bytes | None = None,
        caller: str = "",
    ) -> Stream[GenerationRequest]:
        """Start to continue a prompt, or the text of a state. The caller reads the stream and must close it.

        Requests take turns, and so do callers.

        Raises:
            InvalidInput, StateRefused, Overloaded, NotReady. Later errors are raised while the stream is read.
        """
        started_s = time.monotonic()
        (request,) = await self._context.for_each(
            [len(prompt)], lambda _: self._begin(prompt, options, delivery, before), deadline_s, caller
        )
        self._require_tokens(request)
        stream = self._batcher.submit(request, deadline_s, caller)
        if (meter := meter_var.get()) is not None:
            meter.charge(self.opened.bundle.manifest.name, read_tokens=request.input_statistics.num_tokens)
        for counter, num_tokens in zip(self._reading, request.input_statistics, strict=True):
            counter.inc(num_tokens)
        self._stage_duration["preprocess"].observe(stream.enqueued_s - started_s)
        return stream

    def states(self, request: GenerationRequest) -> list[bytes]:
        """The final state of each sequence of a finished request, as bytes."""
        return [state.to_bytes() for state in request.states()]

    def observe(self, stream: Stream[GenerationRequest], exemplar: Mapping[str, str] | None = None) -> None:
        """Record queue time, inference time, time to first token and time per token of a stream that has ended.

        `exemplar` has the trace id of the request, which links the histogram to the trace.
        """
        if stream.end_reason == "finished":
            self._stage_duration["queue"].observe(stream.started_s - stream.enqueued_s)
            self._stage_duration["inference"].observe(stream.ended_s - stream.started_s)
            self._token_gap.observe(_token_gap_s(stream))
        if stream.first_product_s and stream.request.is_streamed:
            self._time_to_first_token.observe(
                stream.first_product_s - stream.enqueued_s, None if exemplar is None else dict(exemplar)
            )

    async def close(self) -> None:
        self._forget()
        await self._batcher.close()

    def _require_tokens(self, request: GenerationRequest) -> None:
        """Raises InvalidInput if there is more to read and to write than one request may have."""
        num_tokens = request.length + request.num_rows * request.max_new_tokens
        try:
            self._context.options.request.require_tokens(num_tokens, 1)
        except InvalidInput as error:
            raise InvalidInput(f"to read and to write: {error.message}", ("inputs",)) from error

    def _begin(
        self, prompt: str, options: SamplingOptions, delivery: Delivery | None, before: bytes | None
    ) -> GenerationRequest:
        if before is None:
            return self.task.start(prompt, options, delivery)
        vocabulary_size = self.opened.bundle.tokenizers["text"].vocabulary_size
        state = StreamState.from_bytes(before, self.task.state_specs, vocabulary_size)
        return self.task.start(prompt, options, delivery, state)


def _token_gap_s(stream: Stream[GenerationRequest]) -> float:
    """Mean time per token. Without streaming it is computed from the total time, prefill included."""
    num_tokens = max(len(sequence.produced_ids) for sequence in stream.request.sequences)
    if stream.request.is_streamed and num_tokens > 1:
        return (stream.ended_s - stream.first_product_s) / (num_tokens - 1)
    return (stream.ended_s - stream.started_s) / max(1, num_tokens)
