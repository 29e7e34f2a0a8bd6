"""`POST /generate` and `POST /generate_stream`, with the requests and answers of text-generation-inference.

Beyond those: `state` and `session` go on from where an earlier text ended, `n` continues one prompt several times.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

from fastapi import APIRouter, Body
from pydantic_core import to_json
from starlette.responses import Response

from service.api.error_table import body_of, status_and_type
from service.api.event_stream import EventStream
from service.api.examples import GENERATE_EXAMPLES, GENERATE_RESPONSES, STREAM_RESPONSES
from service.api.json_route import Call, CallDependency, JsonRoute
from service.api.schemas import GenerateRequest
from service.api.travel import Travel, travelling
from service.errors import InvalidInput, UnknownSession, UnrollError
from service.inference.generation_engine import GenerationEngine
from service.inference.stream import Stream
from service.tasks.continuation import Continuation, Delivery
from service.tasks.generation_answer import GenerationAnswer, TokenEvent

router = APIRouter(tags=["inference"], route_class=JsonRoute)


@router.post("/generate", response_model=GenerationAnswer, responses=GENERATE_RESPONSES, summary="Continue a prompt")
async def generate(
    body: GenerateRequest = Body(openapi_examples=GENERATE_EXAMPLES), *, call: CallDependency
) -> Response:
    """The whole continuation at once. The same seed gives the same text.

    With `return_state` the answer carries a token to go on from, on this or any other replica; with `session` the
    service keeps it under that name. Either way the next request writes what an uninterrupted one would have written.
    """
    engine = _find(call, body)
    async with travelling(call.desk, call.owner_of_states(engine), body) as travel:
        stream = await _start(call, engine, body, travel, is_streamed=False)
        try:
            await call.unless_client_leaves(stream.result())
        finally:
            stream.close()
            engine.observe(stream)
        answer = stream.request.answer()
        if travel.is_wanted:
            _put_states(answer, await travel.after(engine.states(stream.request)))
    return Response(answer.model_dump_json(), media_type="application/json")


@router.post(
    "/generate_stream", response_model=None, responses=STREAM_RESPONSES, summary="Continue a prompt, as it is written"
)
async def generate_stream(
    body: GenerateRequest = Body(openapi_examples=GENERATE_EXAMPLES), *, call: CallDependency
) -> Response:
    """One server-sent event per token; the last one has the whole text, and the state if it was asked for.

    What is wrong with the request is answered with its status before the stream begins; what fails later is an event
    with `error` and `error_type`.
    """
    if body.n > 1:
        raise InvalidInput("a stream has one continuation: ask /generate for several", ("n",))
    engine = _find(call, body)
    async with AsyncExitStack() as stack:
        travel = await stack.enter_async_context(travelling(call.desk, call.owner_of_states(engine), body))
        stream = await _start(call, engine, body, travel, is_streamed=True)
        stack.callback(engine.observe, stream)
        stack.callback(stream.close)
        return EventStream(_frames(call, engine, stream, travel), stack.pop_all(), on_leave=stream.close)
    raise AssertionError("no context of ours swallows errors")


def _find(call: Call, body: GenerateRequest) -> GenerationEngine:
    engine = call.registry.find("generate", body.model, body.version)
    assert isinstance(engine, GenerationEngine)
    call.note_engine(engine)
    limit = call.settings.max_continuations
    if body.n > limit:
        raise InvalidInput(f"at most {limit} continuations of one prompt are allowed", ("n",))
    if body.n > 1 and body.session is not None:
        raise InvalidInput("a session goes on from one text: leave n out, or carry states", ("n",))
    return engine


async def _start(
    call: Call, engine: GenerationEngine, body: GenerateRequest, travel: Travel, is_streamed: bool
) -> Stream[Continuation]:
    before = await travel.before()
    if before is None and not body.inputs and body.session is not None:
        raise UnknownSession(f"there is no session {body.session!r} here, or no longer: begin it with a prompt")
    delivery = Delivery(is_streamed, body.n, travel.is_wanted)
    return await engine.stream(body.inputs, body.parameters, call.deadline_s, delivery, before)


def _put_states(answer: GenerationAnswer, tokens: list[str]) -> None:
    """Each continuation gets its token; where there is only one, it is the answer's."""
    if tokens:
        answer.state = tokens[0]
    for continuation, token in zip(answer.continuations or [], tokens, strict=False):
        continuation.state = token


async def _frames(
    call: Call, engine: GenerationEngine, stream: Stream[Continuation], travel: Travel
) -> AsyncIterator[bytes]:
    """Events that are ready at the same time are written together."""
    record = call.record
    record.outcome = "cancelled"  # until the last event has been handed over
    try:
        async for events in stream.batches():
            *firsts, last = events
            frames = [_frame(_event_body(event)) for event in firsts]
            if last.finish_reason is None:
                yield b"".join([*frames, _frame(_event_body(last))])
            else:
                yield b"".join([*frames, _frame(await _last_event_body(last, engine, stream.request, travel))])
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


async def _last_event_body(
    event: TokenEvent, engine: GenerationEngine, continuation: Continuation, travel: Travel
) -> dict[str, Any]:
    """Only the last event has the text; details and state if they were asked for."""
    body = _event_body(event)
    body["generated_text"] = continuation.answer().generated_text
    if continuation.parameters.details:
        body["details"] = {
            "finish_reason": event.finish_reason,
            "generated_tokens": event.index,
            "seed": continuation.seed,
            "input_length": len(continuation.prompt_ids),
        }
    if travel.is_wanted and (tokens := await travel.after(engine.states(continuation))):
        body["state"] = tokens[0]
    return body


def _frame(body: dict[str, Any]) -> bytes:
    return b"data:" + to_json(body) + b"\n\n"
