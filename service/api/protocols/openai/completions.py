"""`POST /v1/completions`: texts that continue prompts, whole or as a stream."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

from pydantic_core import to_json
from starlette.responses import Response

from service.api.call import Call
from service.api.event_stream import EventStream, Outlet
from service.api.protocols.openai.answer import answer_head, usage_of, written_choice
from service.api.protocols.openai.choice_text import Piece, prompt_piece, starts_of, whole_piece
from service.api.protocols.openai.chunks import Ending, StreamedChoice, completion_frames
from service.api.protocols.openai.request_body import CompletionRequest, PromptInput
from service.api.request_record import StreamTimes
from service.api.state_source import RequestState, open_request_state
from service.bundle.tokenizer import TextTokenizer
from service.errors import InvalidInput, StateRefused, UnknownModel, UnknownSession
from service.inference.engines.generation_engine import GenerationEngine
from service.inference.engines.registry import Registry
from service.inference.scheduling.stream import Stream
from service.tasks.generation.options import MAX_SEED, SamplingOptions
from service.tasks.generation.request import Delivery, GenerationRequest

Streams = Sequence[Stream[GenerationRequest]]

#: Writing more tokens than this takes several milliseconds.
_INLINE_TOKENS = 2048

#: The names of this protocol by those that the task knows.
_NAMES: dict[str | int, str] = {"max_new_tokens": "max_tokens", "max_prompt_tokens": "truncate_prompt_tokens"}


async def complete(call: Call, body: CompletionRequest) -> Response:
    """Continue one prompt or several. The same seed gives the same text, and a text ends before a stop string.

    With `stream` there is a server-sent event for each token, then `data: [DONE]`; an error after the stream has begun
    is an event with `error`. `state`, `return_state` and `session` continue an earlier text, as in `/generate`.
    """
    completion = _Completion(call, body)
    return await (completion.streamed() if body.stream else completion.whole())


class _Asked(NamedTuple):
    """A prompt and the options of its texts."""

    prompt: PromptInput
    options: SamplingOptions


class _Completion:
    """One request and the model that answers it."""

    def __init__(self, call: Call, body: CompletionRequest) -> None:
        """Raises InvalidInput, UnknownModel, NotReady."""
        _check_combinations(body, call)
        self._call, self._body = call, body
        self._engine = _engine_for(call, body)
        call.note_texts([prompt for prompt in body.prompts if isinstance(prompt, str)])
        self._owner = call.owner_of_states(self._engine)
        self._head = answer_head(call.record.request_id, self._engine.opened.bundle.manifest)
        self._stop = () if body.include_stop_str_in_output else body.stop_strings

    async def whole(self) -> Response:
        """All choices at once."""
        body = self._body
        async with open_request_state(self._call.state_storage, self._owner, body) as request_state:
            streams = await self._start(self._asked(), body.num_made, request_state)
            try:
                await self._call.unless_client_leaves(_all_ended(streams))
            finally:
                self._end(streams)
            requests = [stream.request for stream in streams]
            usage = usage_of(requests)
            choices = await self._all_choices(requests, usage["total_tokens"])
            if request_state.is_wanted:
                states = [state for one in requests for state in self._engine.states(one)[: body.num_texts]]
                for choice, state in zip(choices, await request_state.after(states), strict=False):
                    choice["state"] = state
        answer = self._head | {"choices": choices, "usage": usage} | request_state.told
        return Response(to_json(answer), media_type="application/json")

    async def streamed(self) -> Response:
        """A stream for each choice, written as one."""
        body = self._body
        asked = [
            _Asked(prompt, _following_seed(options, number))
            for prompt, options in self._asked()
            for number in range(body.num_texts)
        ]
        async with AsyncExitStack() as stack:
            opening = open_request_state(self._call.state_storage, self._owner, body)
            request_state = await stack.enter_async_context(opening)
            streams = await self._start(asked, 1, request_state, is_streamed=True)
            stack.callback(self._end, streams)
            choices = [self._streamed_choice(index, stream, request_state) for index, stream in enumerate(streams)]
            outlet = Outlet()
            frames = completion_frames(self._call, self._head, choices, body.num_texts, body.stream_options, outlet)
            return EventStream(frames, stack.pop_all(), lambda: _close(streams), outlet)
        raise AssertionError("no context of ours swallows errors")

    def _asked(self) -> list[_Asked]:
        """Every prompt, with the options of its texts."""
        options, limit = self._body.options, self._engine.opened.bundle.manifest.limits.max_new_tokens
        if options.max_new_tokens is None:
            options = dataclasses.replace(options, max_new_tokens=min(self._body.default_max_tokens, limit))
        return [_Asked(prompt, options) for prompt in self._body.prompts]

    async def _start(
        self, asked: Sequence[_Asked], num_made: int, request_state: RequestState, is_streamed: bool = False
    ) -> Streams:
        call, body = self._call, self._body
        before = await request_state.before()
        if before is None and body.session is not None and not asked[0].prompt:
            raise UnknownSession(f"there is no session {body.session!r} here, or no longer: begin it with a prompt")
        delivery = Delivery(
            is_streamed,
            num_made,
            request_state.is_wanted,
            prompt_logprobs=body.scores_prompt,
            best_first=body.num_made > body.num_texts,
        )
        call.record.begun_s = time.monotonic()
        try:
            return await self._engine.stream_all(asked, call.deadline_s, delivery, before, call.sharer)
        except InvalidInput as error:
            raise InvalidInput(error.message, self._path(error.field, len(asked))) from error
        except StateRefused as refused:  # sealed by this service, and yet no state of this model
            raise await request_state.drop(refused) from refused

    def _end(self, streams: Streams) -> None:
        """Close the streams, and keep their times for the metrics and for the record of the request."""
        record = self._call.record
        for stream in streams:
            stream.close()
            self._engine.observe(stream, record.exemplar)
        record.stream_times = StreamTimes(
            record.begun_s,
            min(stream.enqueued_s for stream in streams),
            min(stream.started_s for stream in streams),
            min(stream.first_product_s if stream.request.is_streamed else 0.0 for stream in streams),
            max(stream.ended_s for stream in streams),
            sum(stream.request.num_produced for stream in streams),
        )

    async def _all_choices(self, requests: Sequence[GenerationRequest], num_tokens: int) -> list[dict[str, Any]]:
        """The choices of all prompts. Long ones are written in a thread, so that they delay nobody else."""

        def written() -> list[dict[str, Any]]:
            return [choice for number, request in enumerate(requests) for choice in self._choices(number, request)]

        return await asyncio.to_thread(written) if num_tokens > _INLINE_TOKENS else written()

    def _choices(self, number: int, request: GenerationRequest) -> list[dict[str, Any]]:
        """The choices of the prompt with this number."""
        num_texts = self._body.num_texts
        before = self._echo(number, request)
        start = sum(len(piece.text) for piece in before)
        return [
            written_choice(
                number * num_texts + place,
                [*before, whole_piece(text, self._stop, start)],
                is_scored=self._body.is_scored,
            )
            for place, text in enumerate(request.result().sequences[:num_texts])
        ]

    def _streamed_choice(
        self, index: int, stream: Stream[GenerationRequest], request_state: RequestState
    ) -> StreamedChoice:
        def echo() -> list[Piece]:
            return self._echo(index // self._body.num_texts, stream.request)

        async def ending() -> Ending:
            states = self._engine.states(stream.request) if request_state.is_wanted else []
            tokens = await request_state.after(states)
            return Ending({"state": tokens[0]} if tokens else {}, request_state.told)

        return StreamedChoice(index, stream, self._stop, echo, ending, is_scored=self._body.is_scored)

    def _echo(self, number: int, request: GenerationRequest) -> list[Piece]:
        """The prompt of this number as a piece, if it is to be in the text."""
        body = self._body
        if not body.echo:
            return []
        prompt = body.prompts[number]
        tokenizer, tokens = self._engine.opened.bundle.tokenizers["text"], request.prompt_tokens()
        if isinstance(prompt, str) and body.truncate_prompt_tokens is None:
            return [prompt_piece(prompt, tokens, _starts(tokenizer, prompt) if tokens else ())]
        return [prompt_piece(tokenizer.decode(request.prompt_ids), tokens, starts_of(tokens))]

    def _path(self, field: Sequence[str | int], num_asked: int) -> list[str | int]:
        """The path of a field in the body, by that which the engine names: `inputs` with the number of what it read."""
        if field[:1] != ("inputs",):
            return [_NAMES.get(part, str(part)) for part in field if part != "parameters"]
        _, *rest = field
        if rest and self._body.has_list_of_prompts:
            rest[0] = int(rest[0]) * len(self._body.prompts) // num_asked
        return ["prompt", *(rest if self._body.has_list_of_prompts else rest[1:])]


def _starts(tokenizer: TextTokenizer, prompt: str) -> list[int]:
    return [token.start for token in tokenizer.encode_with_places(prompt)]


def _check_combinations(body: CompletionRequest, call: Call) -> None:
    limit, most = call.settings.max_continuations, call.settings.max_inputs_per_request
    for name, number in (("n", body.num_texts), ("best_of", body.num_made)):
        if number > limit:
            raise InvalidInput(f"at most {limit} texts of one prompt are allowed", (name,))
    if body.num_made < body.num_texts:
        raise InvalidInput(f"must be at least n, which is {body.num_texts}", ("best_of",))
    if body.stream and body.num_made > body.num_texts:
        raise InvalidInput("the best are known only at the end: leave best_of out, or do not stream", ("best_of",))
    if body.stream and len(body.prompts) * body.num_texts > most:
        raise InvalidInput(f"at most {most} texts can be streamed together", ("n",))
    if body.stream_options is not None and not body.stream:
        raise InvalidInput("is only for streams: set stream to true, or leave it out", ("stream_options",))
    if (body.state is not None or body.session is not None) and len(body.prompts) > 1:
        raise InvalidInput("a state or a session continues one text: send one prompt", ("prompt",))
    if body.session is not None and body.num_made > 1:
        raise InvalidInput("a session continues one text: leave n and best_of out, or carry states", ("session",))


def _engine_for(call: Call, body: CompletionRequest) -> GenerationEngine:
    """The model of this name; for a name that is not known the only language model, if there is just one.

    Clients send what they must: the name of a model elsewhere, or, as `@huggingface/inference` does, the URL, which
    counts as no name.

    Raises:
        UnknownModel: there is no such model, and a choice of others.
        InvalidInput: the model has another task, or none is named and there is a choice.
        NotReady: it cannot answer now.
    """
    try:
        return call.generation_engine(body.model, body.version, body.state, body.session)
    except UnknownModel as unknown:
        names = _language_models(call.registry)
        is_url = body.model is not None and "://" in body.model
        if body.version is not None or not (is_url or len(names) == 1):
            raise
        try:
            return call.generation_engine(None if is_url else names[0], None, body.state, body.session)
        except InvalidInput:
            raise unknown from None


def _language_models(registry: Registry) -> list[str]:
    return sorted({entry.name for entry in registry.entries if entry.answers("generate")})


def _following_seed(options: SamplingOptions, number: int) -> SamplingOptions:
    """The options of text number `number` of a prompt: seeds follow each other, as for texts that are made together."""
    if not number or options.seed is None:
        return options
    return dataclasses.replace(options, seed=(options.seed + number) % (MAX_SEED + 1))


async def _all_ended(streams: Streams) -> None:
    for stream in streams:
        await stream.result()


def _close(streams: Streams) -> None:
    for stream in streams:
        stream.close()
