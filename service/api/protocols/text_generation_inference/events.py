"""The events of a stream, as text-generation-inference writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from pydantic_core import to_json

from service.api.error_table import Failure, plain_body
from service.api.event_stream import json_text
from service.api.state_source import RequestState
from service.tasks.generation.recorded_form import written_token
from service.tasks.generation.request import GenerationRequest
from service.tasks.generation.result import TokenEvent

#: The error types for which the clients of text-generation-inference have exceptions of their own.
_KNOWN_ERROR_TYPES = frozenset({"generation", "incomplete_generation", "overloaded", "validation"})

#: Index, id, JSON of the text, log-probability, whether the token is special.
_TOKEN_FRAME = (
    b'data:{"index":%d,"token":{"id":%d,"text":%b,"logprob":%a,"special":%b},"generated_text":null,"details":null}\n\n'
)


def token_event(event: TokenEvent) -> dict[str, Any]:
    """One token, and the most likely ones if they were asked for."""
    body: dict[str, Any] = {"index": event.index, "token": written_token(event.token)}
    if event.top_tokens:
        body["top_tokens"] = [written_token(token) for token in event.top_tokens]
    body["generated_text"] = body["details"] = None
    return body


def token_frame(event: TokenEvent) -> bytes:
    """The event of one token as a server-sent event: `frame(token_event(event))`, in one formatting."""
    token_id, text, log_probability, is_special = event.token
    if event.top_tokens or not isfinite(log_probability):
        return frame(token_event(event))
    written = event.index, token_id, json_text(text), log_probability, b"true" if is_special else b"false"
    return _TOKEN_FRAME % written


def intermediate_event(event: TokenEvent, request: GenerationRequest, states: Mapping[int, str]) -> dict[str, Any]:
    """The event, with the state after its token where one was asked for."""
    body = token_event(event)
    if event.index in states:
        body["state"] = states[event.index]
        body["tokens_left"] = request.max_new_tokens - event.index
    return body


async def states_of(
    events: Sequence[TokenEvent], request: GenerationRequest, request_state: RequestState
) -> dict[int, str]:
    """The states that were asked for after these events, by the index of the event; not that of the last event."""
    states = {event.index: request.state_after(event.index) for event in events if event.finish_reason is None}
    wanted = {index: state for index, state in states.items() if state is not None}
    tokens = await request_state.seal_all([state.to_bytes for state in wanted.values()])
    return dict(zip(wanted, tokens, strict=True))


def cut_short(failure: Failure) -> dict[str, Any]:
    """The last event of a stream that failed, as TGI's clients tell errors apart.

    A deadline that passed or a service that stopped leaves half a text, which they know as `incomplete_generation`;
    `cause` has our own type.
    """
    body = plain_body(failure)
    if failure.error_type not in _KNOWN_ERROR_TYPES:
        error_type = "generation" if failure.error_type == "inference_failed" else "incomplete_generation"
        body |= {"error_type": error_type, "cause": failure.error_type}
    return body


def frame(body: Mapping[str, Any]) -> bytes:
    """A server-sent event."""
    return b"data:" + to_json(body) + b"\n\n"
