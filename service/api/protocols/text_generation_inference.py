"""The protocol of text-generation-inference: `POST /generate` and `POST /generate_stream`.

Beyond it: `state` and `session` continue an earlier text, `state_every` adds states to a stream from which a broken one
can be resumed, and `n` continues one prompt several times.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

from pydantic_core import to_json
from starlette.responses import Response

from service.api.call import Call
from service.api.error_table import ErrorForm, plain_body
from service.api.event_stream import EventStream
from service.api.examples.answers import GENERATE_EXAMPLES, GENERATE_RESPONSES, STREAM_RESPONSES
from service.api.protocol import Protocol, Route
from service.api.request_record import StreamTimes
from service.api.schemas import GenerateRequest, GenerateResponse
from service.api.state_source import RequestState, open_request_state
from service.errors import InferenceFailed, InvalidInput, StateRefused, UnknownSession, UnrollError
from service.inference.scheduling.stream import Stream
from service.tasks.generation.recorded_form import (
    GenerationParameters,
    written_answer,
    written_token,
)
from service.tasks.generation.request import Delivery, GenerationRequest
from service.tasks.generation.result import TokenEvent


async def generate(call: Call, body: GenerateRequest) -> Response:
    """The whole continuation at once. The same seed gives the same text.

    With `return_state` the answer carries a token from which this or any other replica can continue; with `session` the
    service keeps it, and the answer has the `session` to continue with. Either way the next request writes what an
    uninterrupted one would have written.
    """
    if body.state_every is not None:
        raise InvalidInput("only a stream has intermediate states: use /generate_stream", ("state_every",))
    generation = _Generation(call, body)
    async with open_request_state(call.state_storage, generation.owner, body) as request_state:
        stream = await generation.start(request_state, is_streamed=False)
        try:
            await call.unless_client_leaves(stream.result())
        finally:
            stream.close()
            generation.note_end(stream)
        states = await generation.states(stream.request, request_state)
    answer = written_answer(stream.request.result(), generation.parameters, body.inputs, states)
    answer |= request_state.told
    return Response(to_json(answer), media_type="application/json")


async def generate_stream(call: Call, body: GenerateRequest) -> Response:
    """One server-sent event per token; the last one has the whole text, and the state if it was asked for.

    With `state_every` some of the other events have a `state` too, and `tokens_left`: if the stream breaks, continue
    from the last of them with `max_new_tokens` set to that, on any replica, and the very same tokens follow.

    An invalid request is answered with its status before the stream begins; what fails later is an event with `error`
    and `error_type`.
    """
    if body.n > 1:
        raise InvalidInput("a stream has one continuation: use /generate for several", ("n",))
    generation = _Generation(call, body)
    async with AsyncExitStack() as stack:
        opening = open_request_state(call.state_storage, generation.owner, body)
        request_state = await stack.enter_async_context(opening)
        stream = await generation.start(request_state, is_streamed=True)
        stack.callback(generation.note_end, stream)
        stack.callback(stream.close)
        return EventStream(generation.frames(stream, request_state), stack.pop_all(), on_leave=stream.close)
    raise AssertionError("no context of ours swallows errors")


class _Generation:
    """One request and the model that answers it."""

    def __init__(self, call: Call, body: GenerateRequest) -> None:
        """Raises InvalidInput, UnknownModel, NotReady."""
        engine = call.generation_engine(body.model, body.version)
        call.note_texts(body.inputs)
        _check_combinations(body, call.settings.max_continuations)
        self.parameters = GenerationParameters.when_absent() if body.parameters is None else body.parameters
        self.owner = call.owner_of_states(engine)
        self._call, self._body, self._engine = call, body, engine

    async def start(self, request_state: RequestState, is_streamed: bool) -> Stream[GenerationRequest]:
        body, call = self._body, self._call
        before = await request_state.before()
        if before is None and not body.inputs and body.session is not None:
            raise UnknownSession(_unknown(body.session, is_anonymous=not self.owner.caller.strip()))
        delivery = Delivery(is_streamed, body.n, request_state.is_wanted, body.state_every or 0)
        call.record.begun_s = time.monotonic()
        options, deadline_s = self.parameters.options, call.deadline_s
        try:
            return await self._engine.stream(body.inputs, options, deadline_s, delivery, before, call.sharer)
        except StateRefused as refused:  # sealed by this service, and yet no state of this model
            raise await request_state.drop(refused) from refused

    def note_end(self, stream: Stream[GenerationRequest]) -> None:
        """Keep the times of a finished stream for the metrics and for the request's record."""
        record = self._call.record
        self._engine.observe(stream, record.exemplar)
        record.stream_times = StreamTimes(
            record.begun_s,
            stream.enqueued_s,
            stream.started_s,
            stream.first_product_s if stream.request.is_streamed else 0.0,
            stream.ended_s,
            stream.request.num_produced,
        )

    async def states(self, request: GenerationRequest, request_state: RequestState) -> list[str]:
        """For each sequence a token to continue from, if the client asked for them."""
        return await request_state.after(self._engine.states(request)) if request_state.is_wanted else []

    async def frames(self, stream: Stream[GenerationRequest], request_state: RequestState) -> AsyncIterator[bytes]:
        """Server-sent events. Those that are ready at the same time are written together."""
        record, request = self._call.record, stream.request
        record.outcome = "cancelled"  # until the last event has been handed over
        try:
            async for events in stream.batches():
                states = await _states_of(events, request, request_state)
                *firsts, last = events
                frames = [_frame(_intermediate_event(event, request, states)) for event in firsts]
                if last.finish_reason is None:
                    yield b"".join([*frames, _frame(_intermediate_event(last, request, states))])
                else:
                    yield b"".join([*frames, _frame(await self._last_event(last, request, request_state))])
                    record.outcome = "ok"
        except UnrollError as error:
            yield _frame(plain_body(self._call.failure_in_stream(error)))

    async def _last_event(
        self, event: TokenEvent, request: GenerationRequest, request_state: RequestState
    ) -> dict[str, Any]:
        """Only the last event has the text; details and state if they were asked for."""
        body = _event(event)
        body["generated_text"] = self.parameters.text_before(self._body.inputs) + request.text
        if self.parameters.details:
            body["details"] = {
                "finish_reason": event.finish_reason,
                "generated_tokens": event.index,
                "seed": request.seed,
                "input_length": len(request.prompt_ids),
            }
        for state in await self.states(request, request_state):
            body["state"] = state
        return body | request_state.told


def _unknown(session: str, is_anonymous: bool) -> str:
    message = f"there is no session {session!r} here, or no longer: begin it with a prompt"
    if is_anonymous:
        message += ", and continue with the `session` in its answer, or send an Authorization header with each request"
    return message


def _check_combinations(body: GenerateRequest, limit: int) -> None:
    if body.n > limit:
        raise InvalidInput(f"at most {limit} continuations of one prompt are allowed", ("n",))
    if body.n > 1 and body.session is not None:
        raise InvalidInput("a session continues one text: leave n out, or carry states", ("n",))
    if body.state_every is not None and body.session is not None:
        raise InvalidInput("a session keeps its state here: leave state_every out", ("state_every",))


def _event(event: TokenEvent) -> dict[str, Any]:
    body: dict[str, Any] = {"index": event.index, "token": written_token(event.token)}
    if event.top_tokens:
        body["top_tokens"] = [written_token(token) for token in event.top_tokens]
    body["generated_text"] = body["details"] = None
    return body


async def _states_of(
    events: Sequence[TokenEvent], request: GenerationRequest, request_state: RequestState
) -> dict[int, str]:
    """The states that were asked for after these events, by the index of the event; not that of the last event."""
    states = {event.index: request.state_after(event.index) for event in events if event.finish_reason is None}
    wanted = {index: state for index, state in states.items() if state is not None}
    tokens = await request_state.seal_all([state.to_bytes for state in wanted.values()])
    return dict(zip(wanted, tokens, strict=True))


def _intermediate_event(event: TokenEvent, request: GenerationRequest, states: Mapping[int, str]) -> dict[str, Any]:
    """The event, with the state after its token where one was asked for."""
    body = _event(event)
    if event.index in states:
        body["state"] = states[event.index]
        body["tokens_left"] = request.max_new_tokens - event.index
    return body


def _frame(body: dict[str, Any]) -> bytes:
    return b"data:" + to_json(body) + b"\n\n"


PROTOCOL = Protocol(
    name="text-generation-inference",
    tag="inference",
    errors=ErrorForm(rows={InferenceFailed: (424, "generation")}, names={"max_prompt_tokens": "truncate"}),
    routes=[
        Route(
            "/generate",
            generate,
            GenerateRequest,
            scope="generate",
            answer=GenerateResponse,
            summary="Continue a prompt",
            examples=GENERATE_EXAMPLES,
            responses=GENERATE_RESPONSES,
        ),
        Route(
            "/generate_stream",
            generate_stream,
            GenerateRequest,
            scope="generate",
            summary="Continue a prompt, streamed",
            examples=GENERATE_EXAMPLES,
            responses=STREAM_RESPONSES,
        ),
    ],
)
