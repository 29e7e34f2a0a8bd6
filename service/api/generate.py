"""`POST /generate` and `POST /generate_stream`, with the requests and answers of text-generation-inference."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Body, Request
from starlette.responses import Response, StreamingResponse

from service.api.dependencies import Deadline, RegistryDependency, note_engine, unless_client_leaves
from service.api.error_table import body_of, status_and_type
from service.api.examples import GENERATE_EXAMPLES, GENERATE_RESPONSES, STREAM_RESPONSES
from service.api.schemas import GenerateRequest
from service.errors import UnrollError
from service.inference.engine import GenerationEngine, deadline
from service.inference.registry import Registry
from service.inference.stepper import Stream
from service.tasks.generation_answer import GenerationAnswer, TokenEvent

router = APIRouter(tags=["inference"])


@router.post("/generate", response_model=GenerationAnswer, responses=GENERATE_RESPONSES, summary="Continue a prompt")
async def generate(
    request: Request,
    body: GenerateRequest = Body(openapi_examples=GENERATE_EXAMPLES),
    *,
    registry: RegistryDependency,
    deadline_s: Deadline,
) -> Response:
    """The whole continuation at once. The same seed gives the same text."""
    engine = _find(request, body, registry)
    stream = await engine.stream(body.inputs, body.parameters, deadline_s)
    try:
        answer = await unless_client_leaves(request, _read_all(stream, deadline_s))
    finally:
        stream.close()
        engine.observe(stream)
    return Response(answer.model_dump_json(), media_type="application/json")


@router.post(
    "/generate_stream", response_model=None, responses=STREAM_RESPONSES, summary="Continue a prompt, as it is written"
)
async def generate_stream(
    request: Request,
    body: GenerateRequest = Body(openapi_examples=GENERATE_EXAMPLES),
    *,
    registry: RegistryDependency,
    deadline_s: Deadline,
) -> Response:
    """One server-sent event per token; the last one has the whole text.

    What is wrong with the request is answered with its status before the stream begins; what fails later is an event
    with `error` and `error_type`.
    """
    engine = _find(request, body, registry)
    stream = await engine.stream(body.inputs, body.parameters, deadline_s)
    headers = {"X-Accel-Buffering": "no", "Cache-Control": "no-cache"}
    return StreamingResponse(_frames(request, engine, stream), media_type="text/event-stream", headers=headers)


def _find(request: Request, body: GenerateRequest, registry: Registry) -> GenerationEngine:
    engine = registry.find("generate", body.model, body.version)
    assert isinstance(engine, GenerationEngine)
    note_engine(request, engine)
    return engine


async def _read_all(stream: Stream, deadline_s: float) -> GenerationAnswer:
    async with deadline(deadline_s):
        async for _ in stream:
            pass
    return stream.continuation.answer()


async def _frames(request: Request, engine: GenerationEngine, stream: Stream) -> AsyncIterator[str]:
    record = request.state.record
    record.outcome = "cancelled"  # until the last event has been handed over
    try:
        async for event in stream:
            yield _frame(_event_body(event, stream))
        record.outcome = "ok"
    except UnrollError as error:
        _, record.outcome = status_and_type(error, request.url.path)
        yield _frame(body_of(error, record.outcome, record.request_id))
    finally:
        stream.close()
        engine.observe(stream)


def _event_body(event: TokenEvent, stream: Stream) -> dict[str, Any]:
    """The event as text-generation-inference writes it; only the last has the text, and details if asked for."""
    body = event.model_dump(mode="json", exclude={"finish_reason"})
    if not body["top_tokens"]:
        del body["top_tokens"]
    body |= {"generated_text": None, "details": None}
    if event.finish_reason is not None:
        body["generated_text"] = stream.continuation.answer().generated_text
        if stream.continuation.parameters.details:
            body["details"] = _last_details(event, stream)
    return body


def _last_details(event: TokenEvent, stream: Stream) -> dict[str, Any]:
    return {
        "finish_reason": event.finish_reason,
        "generated_tokens": event.index,
        "seed": stream.continuation.seed,
        "input_length": len(stream.continuation.prompt_ids),
    }


def _frame(body: dict[str, Any]) -> str:
    return f"data:{json.dumps(body, allow_nan=False, separators=(',', ':'))}\n\n"
