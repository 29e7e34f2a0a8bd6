"""The routes of text-generation-inference: `/`, `/generate`, `/generate_stream`, `/tokenize`, `/info`, `/invocations`.

TGI's own clients, and those of Hugging Face endpoints, post to the base address with `stream` in the body; SageMaker
posts the same to `/invocations`. None of them names a model.
"""

from __future__ import annotations

from typing import Any

from pydantic_core import to_json
from starlette.responses import Response

from service.api.call import Call
from service.api.error_table import ErrorForm
from service.api.examples.answers import (
    GENERATE_EXAMPLES,
    GENERATE_RESPONSES,
    INFO_RESPONSES,
    STREAM_RESPONSES,
    TGI_RESPONSES,
    TOKENIZE_RESPONSES,
)
from service.api.protocol import PlainResponse, Protocol, Route
from service.api.protocols.text_generation_inference.events import cut_short
from service.api.protocols.text_generation_inference.generation import streamed_text, whole_text
from service.api.protocols.text_generation_inference.information import endpoint_info, tokenized
from service.api.protocols.text_generation_inference.timing_headers import Headers
from service.api.schemas import EndpointInfo, GenerateRequest, GenerateResponse, TextToken, TokenizeRequest
from service.errors import InferenceFailed


async def generate(call: Call, body: GenerateRequest) -> Response:
    """The whole continuation at once. The same seed gives the same text.

    With `return_state` the answer carries a token from which this or any other replica can continue; with `session` the
    service keeps it, and the answer has the `session` to continue with. Either way the next request writes what an
    uninterrupted one would have written.

    With `stream` the answer is that of `/generate_stream`.
    """
    if body.stream:
        return await streamed_text(call, body)
    answer, headers = await whole_text(call, body)
    return _json(answer, headers)


async def generate_stream(call: Call, body: GenerateRequest) -> Response:
    """One server-sent event per token; the last one has the whole text, and the state if it was asked for.

    With `state_every` some of the other events have a `state` too, and `tokens_left`: if the stream breaks, continue
    from the last of them with `max_new_tokens` set to that, on any replica, and the very same tokens follow.

    An invalid request is answered with its status before the stream begins; what fails later is an event with `error`
    and `error_type`. `stream` may be sent, and changes nothing.
    """
    return await streamed_text(call, body)


async def generate_compatibly(call: Call, body: GenerateRequest) -> Response:
    """As the clients of text-generation-inference expect it: a list with one text, or events if `stream` is true.

    These clients name no model. The only language model answers, or that of `UNROLL_DEFAULT_MODELS`.
    """
    return await compatible_response(call, body)


async def compatible_response(call: Call, body: GenerateRequest, model: str | None = None) -> Response:
    """A list with one text, or events. `model` is the name in the path, if there is one."""
    if body.stream:
        return await streamed_text(call, body, model, cut_short)
    answer, headers = await whole_text(call, body, model)
    return _json([answer], headers)


async def tokenize(call: Call, body: TokenizeRequest) -> Response:
    """The tokens of a text, with their places in code points. No special tokens are added."""
    engine = call.generation_engine(body.model, body.version)
    call.note_texts(body.inputs)
    return Response(await tokenized(call, engine, body.inputs), media_type="application/json")


async def info(call: Call, _: bytes) -> Response:
    """The language model that answers requests without a name, and the limits of the service."""
    return _json(endpoint_info(call.generation_engine(None), call.settings), [])


def _json(body: Any, headers: Headers) -> Response:
    return PlainResponse(to_json(body), more_headers=headers)


def _compatible_route(path: str, operation_id: str, summary: str) -> Route[GenerateRequest]:
    return Route(
        path,
        generate_compatibly,
        GenerateRequest,
        scope="generate",
        answer=list[GenerateResponse],
        operation_id=operation_id,
        names_model=True,
        summary=summary,
        examples=GENERATE_EXAMPLES,
        responses=TGI_RESPONSES,
    )


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
            names_model=True,
            summary="Continue a prompt",
            examples=GENERATE_EXAMPLES,
            responses=GENERATE_RESPONSES,
        ),
        Route(
            "/generate_stream",
            generate_stream,
            GenerateRequest,
            scope="generate",
            names_model=True,
            summary="Continue a prompt, streamed",
            examples=GENERATE_EXAMPLES,
            responses=STREAM_RESPONSES,
        ),
        _compatible_route("/", "compat_generate", "Continue a prompt, for clients of text-generation-inference"),
        _compatible_route("/invocations", "invoke_endpoint", "The same for SageMaker"),
        Route(
            "/tokenize",
            tokenize,
            TokenizeRequest,
            scope="generate",
            answer=list[TextToken],
            summary="The tokens of a text",
            responses=TOKENIZE_RESPONSES,
        ),
        Route(
            "/info",
            info,
            bytes,
            method="GET",
            answer=EndpointInfo,
            operation_id="get_info",
            summary="The language model and its limits",
            responses=INFO_RESPONSES,
        ),
    ],
)
