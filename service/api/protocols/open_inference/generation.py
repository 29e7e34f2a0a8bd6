"""Texts of a language model as tensors, and as the stream of Triton's extension for generation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from service.api.call import Call
from service.api.protocols.open_inference.tensors.messages import Tensor, texts
from service.api.protocols.open_inference.tensors.task_outputs import TEXT_OUTPUT
from service.api.request_record import StreamTimes
from service.errors import InvalidInput
from service.inference.engines.generation_engine import GenerationEngine
from service.inference.scheduling.stream import Stream
from service.tasks.core.parameters import check_parameters
from service.tasks.generation.recorded_form import GenerationParameters
from service.tasks.generation.request import Delivery, GenerationRequest

#: Other names of parameters, as other servers of the extension have them.
_OTHER_NAMES = {"max_tokens": "max_new_tokens", "stop_words": "stop", "random_seed": "seed"}


class Prompts(NamedTuple):
    """What a language model is asked: the texts to continue, and how."""

    texts: Sequence[str]
    parameters: GenerationParameters
    deadline_s: float


def read_parameters(given: Mapping[str, Any]) -> GenerationParameters:
    """The parameters of generation; without any, tokens are drawn at random, as in `POST /generate`.

    Raises:
        InvalidInput: with the path `parameters.<name>`.
    """
    if not given:
        return GenerationParameters.when_absent()
    named = {_OTHER_NAMES.get(name, name): value for name, value in given.items() if value is not None}
    if isinstance(stop := named.get("stop"), str):
        named["stop"] = [stop] if stop else []
    parameters: GenerationParameters = check_parameters(GenerationParameters, named)
    return parameters


async def generate_all(
    call: Call, engine: GenerationEngine, prompts: Prompts, before: bytes | None = None, *, returns_state: bool = False
) -> list[GenerationRequest]:
    """Continue every prompt to its end. With `returns_state` there is one, whose state is kept.

    Raises:
        InvalidInput: with a path that begins with `inputs` or `parameters`.
        StateRefused, Overloaded, NotReady, DeadlineExceeded, InferenceFailed.
    """
    streams: list[Stream[GenerationRequest]] = []
    call.record.begun_s = time.monotonic()
    try:
        for prompt in prompts.texts:
            delivery = Delivery(returns_state=returns_state)
            streams.append(await start(call, engine, prompt, prompts, delivery, before))
            _require_few_tokens(call, streams)
        await call.unless_client_leaves(_results(streams))
    finally:
        for stream in streams:
            stream.close()
            engine.observe(stream, call.record.exemplar)
        if streams:
            call.record.stream_times = times_of(call, streams)
    return [stream.request for stream in streams]


async def start(
    call: Call,
    engine: GenerationEngine,
    prompt: str,
    prompts: Prompts,
    delivery: Delivery,
    before: bytes | None = None,
) -> Stream[GenerationRequest]:
    """Begin to continue one prompt. Raises InvalidInput, StateRefused, Overloaded, NotReady."""
    options = prompts.parameters.options
    return await engine.stream(prompt, options, prompts.deadline_s, delivery, before, call.sharer)


def times_of(call: Call, streams: Sequence[Stream[GenerationRequest]]) -> StreamTimes:
    """When the streams of a request began and ended."""
    return StreamTimes(
        call.record.begun_s,
        min(stream.enqueued_s for stream in streams),
        min(stream.started_s for stream in streams),
        max(stream.first_product_s if stream.request.is_streamed else 0.0 for stream in streams),
        max(stream.ended_s for stream in streams),
        sum(stream.request.num_produced for stream in streams),
    )


def written(requests: Sequence[GenerationRequest], prompts: Prompts, shape: tuple[int, ...]) -> dict[str, Tensor]:
    """The outputs by name."""
    found = [request.result().sequences[0] for request in requests]
    before = [prompts.parameters.text_before(prompt) for prompt in prompts.texts]
    whole = [start + sequence.text for start, sequence in zip(before, found, strict=True)]
    counts = [len(sequence.token_ids) for sequence in found]
    return {
        TEXT_OUTPUT: texts(TEXT_OUTPUT, whole, shape),
        "finish_reason": texts("finish_reason", [sequence.finish_reason for sequence in found], shape),
        "generated_tokens": Tensor("generated_tokens", "INT64", shape, counts),
    }


async def _results(streams: Sequence[Stream[GenerationRequest]]) -> None:
    await asyncio.gather(*(stream.result() for stream in streams))


def _require_few_tokens(call: Call, streams: Sequence[Stream[GenerationRequest]]) -> None:
    """Raises InvalidInput if the prompts of a request have more tokens, read and to be written, than allowed."""
    limit = call.settings.max_tokens_per_request
    num_tokens = sum(stream.request.length + stream.request.max_new_tokens for stream in streams)
    if num_tokens > limit:
        message = f"{len(streams)} prompts with {num_tokens} tokens to read and to write, at most {limit} are allowed"
        raise InvalidInput(message, ("inputs",))
