"""`POST /generate` and `POST /generate_stream`, with the requests and answers of text-generation-inference.

Beyond those: `state` and `session` go on from where an earlier text ended, `state_every` gives a stream places to go on
from should it break, and `n` continues one prompt several times.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

from fastapi import APIRouter, Body
from pydantic_core import to_json
from starlette.responses import Response

from service.api.error_table import body_of, status_and_type
from service.api.event_stream import EventStream
from service.api.json_route import Call, CallDependency, JsonRoute
from service.api.request_record import StreamTimes
from service.api.routes.examples import GENERATE_EXAMPLES, GENERATE_RESPONSES, STREAM_RESPONSES
from service.api.schemas import GenerateRequest
from service.api.state_source import RequestState, open_request_state
from service.errors import InvalidInput, UnknownSession, UnrollError
from service.inference.engines.generation_engine import GenerationEngine
from service.inference.scheduling.stream import Stream
from service.tasks.generation.answer import GenerationAnswer, TokenEvent
from service.tasks.generation.request import Delivery, GenerationRequest

router = APIRouter(tags=["inference"], route_class=JsonRoute)


@router.post("/generate", response_model=GenerationAnswer, responses=GENERATE_RESPONSES, summary="Continue a prompt")
async def generate(
    body: GenerateRequest = Body(openapi_examples=GENERATE_EXAMPLES), *, call: CallDependency
) -> Response:
    """The whole continuation at once. The same seed gives the same text.

    With `return_state` the answer carries a token to go on from, on this or any other replica; with `session` the
    service keeps it under that name. Either way the next request writes what an uninterrupted one would have written.
    """
    if body.state_every is not None:
        raise InvalidInput("only a stream sends states on its way: ask /generate_stream", ("state_every",))
    engine = _find(call, body)
    async with open_request_state(call.state_storage, call.owner_of_states(engine), body) as request_state:
        stream = await _start(call, engine, body, request_state, is_streamed=False)
        try:
            await call.unless_client_leaves(stream.result())
        finally:
            stream.close()
            _note_end(call, engine, stream)
        answer = stream.request.answer()
        if request_state.is_wanted:
            _put_states(answer, await request_state.after(engine.states(stream.request)))
    return Response(answer.model_dump_json(), media_type="application/json")


@router.post(
    "/generate_stream", response_model=None, responses=STREAM_RESPONSES, summary="Continue a prompt, as it is written"
)
async def generate_stream(
    body: GenerateRequest = Body(openapi_examples=GENERATE_EXAMPLES), *, call: CallDependency
) -> Response:
    """One server-sent event per token; the last one has the whole text, and the state if it was asked for.

    With `state_every` some events on the way have a `state` too, and `tokens_left`: should the stream break, go on from
    the last of them with `max_new_tokens` set to that, on any replica, and the very same tokens follow.

    What is wrong with the request is answered with its status before the stream begins; what fails later is an event
    with `error` and `error_type`.
    """
    if body.n > 1:
        raise InvalidInput("a stream has one continuation: ask /generate for several", ("n",))
    engine = _find(call, body)
    async with AsyncExitStack() as stack:
        opening = open_request_state(call.state_storage, call.owner_of_states(engine), body)
        request_state = await stack.enter_async_context(opening)
        stream = await _start(call, engine, body, request_state, is_streamed=True)
        stack.callback(_note_end, call, engine, stream)
        stack.callback(stream.close)
        return EventStream(_frames(call, engine, stream, request_state), stack.pop_all(), on_leave=stream.close)
    raise AssertionError("no context of ours swallows errors")


def _find(call: Call, body: GenerateRequest) -> GenerationEngine:
    engine = call.registry.find("generate", body.model, body.version)
    assert isinstance(engine, GenerationEngine)
    call.note_engine(engine)
    call.note_texts(body.inputs)
    limit = call.settings.max_continuations
    if body.n > limit:
        raise InvalidInput(f"at most {limit} continuations of one prompt are allowed", ("n",))
    if body.n > 1 and body.session is not None:
        raise InvalidInput("a session goes on from one text: leave n out, or carry states", ("n",))
    if body.state_every is not None and body.session is not None:
        raise InvalidInput("a session keeps its state here: leave state_every out", ("state_every",))
    return engine


async def _start(
    call: Call, engine: GenerationEngine, body: GenerateRequest, request_state: RequestState, is_streamed: bool
) -> Stream[GenerationRequest]:
    before = await request_state.before()
    if before is None and not body.inputs and body.session is not None:
        raise UnknownSession(f"there is no session {body.session!r} here, or no longer: begin it with a prompt")
    delivery = Delivery(is_streamed, body.n, request_state.is_wanted, body.state_every or 0)
    call.record.begun_s = time.monotonic()
    return await engine.stream(body.inputs, body.parameters, call.deadline_s, delivery, before)


def _note_end(call: Call, engine: GenerationEngine, stream: Stream[GenerationRequest]) -> None:
    """A stream is over: its times, for the metrics and for the request's record."""
    record = call.record
    engine.observe(stream, record.exemplar)
    record.stream_times = StreamTimes(
        record.begun_s,
        stream.enqueued_s,
        stream.started_s,
        stream.first_product_s if stream.request.is_streamed else 0.0,
        stream.ended_s,
        stream.request.num_produced,
    )


def _put_states(answer: GenerationAnswer, tokens: list[str]) -> None:
    """Each continuation gets its token; where there is only one, it is the answer's."""
    if tokens:
        answer.state = tokens[0]
    for continuation, token in zip(answer.continuations or [], tokens, strict=False):
        continuation.state = token


async def _frames(
    call: Call, engine: GenerationEngine, stream: Stream[GenerationRequest], request_state: RequestState
) -> AsyncIterator[bytes]:
    """Events that are ready at the same time are written together."""
    record = call.record
    record.outcome = "cancelled"  # until the last event has been handed over
    try:
        async for events in stream.batches():
            *firsts, last = events
            frames = [_frame(_event_on_the_way(event, stream.request, request_state)) for event in firsts]
            if last.finish_reason is None:
                yield b"".join([*frames, _frame(_event_on_the_way(last, stream.request, request_state))])
            else:
                yield b"".join([*frames, _frame(await _last_event_body(last, engine, stream.request, request_state))])
                record.outcome = "ok"
    except UnrollError as error:
        _, record.outcome = status_and_type(error, record.path)
        yield _frame(body_of(error, record.outcome, record.request_id))


def _event_body(event: TokenEvent) -> dict[str, Any]:
    """The event as text-generation-inference writes it."""
    body: dict[str, Any] = {"index": event.index, "token": event.token}
    if event.top_tokens:
        body["top_tokens"] = event.top_tokens
    return body | {"generated_text": None, "details": None}


def _event_on_the_way(event: TokenEvent, request: GenerationRequest, request_state: RequestState) -> dict[str, Any]:
    """The event, with the state after its token where one was asked for."""
    body = _event_body(event)
    state = request.state_after(event.index)
    if state is not None:
        body["state"] = request_state.seal(state.to_bytes())
        body["tokens_left"] = request.max_new_tokens - event.index
    return body


async def _last_event_body(
    event: TokenEvent, engine: GenerationEngine, request: GenerationRequest, request_state: RequestState
) -> dict[str, Any]:
    """Only the last event has the text; details and state if they were asked for."""
    body = _event_body(event)
    body["generated_text"] = request.answer().generated_text
    if request.parameters.details:
        body["details"] = {
            "finish_reason": event.finish_reason,
            "generated_tokens": event.index,
            "seed": request.seed,
            "input_length": len(request.prompt_ids),
        }
    if request_state.is_wanted and (tokens := await request_state.after(engine.states(request))):
        body["state"] = tokens[0]
    return body


def _frame(body: dict[str, Any]) -> bytes:
    return b"data:" + to_json(body) + b"\n\n"
