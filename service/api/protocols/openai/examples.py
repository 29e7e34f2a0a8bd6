"""Examples of OpenAI's routes in the OpenAPI document: requests to try, answers and errors."""

from __future__ import annotations

from typing import Any

from fastapi.openapi.models import Example
from pydantic import BaseModel

from service.api.protocol import Responses

_HEAD = {"id": "cmpl-4f0c3f2e", "object": "text_completion", "created": 1764460800, "model": "shakespeare"}


class ErrorDetails(BaseModel):
    """What is wrong, and with which field."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIError(BaseModel):
    """The body of every error below `/v1`."""

    error: ErrorDetails


COMPLETION_EXAMPLES: dict[str, Example] = {
    "sample": {
        "summary": "Sample with a seed: the same text every time",
        "value": {"model": "shakespeare", "prompt": "ROMEO:", "max_tokens": 120, "temperature": 0.8, "seed": 7},
    },
    "best": {
        "summary": "The better half of four texts, each up to the end of the line",
        "value": {"prompt": "ROMEO:", "max_tokens": 60, "n": 2, "best_of": 4, "seed": 7, "stop": ["\n\n"]},
    },
    "score": {
        "summary": "Log-probabilities of the tokens of a given text",
        "value": {"prompt": "To be, or not to be", "max_tokens": 0, "echo": True, "logprobs": 1},
    },
}

_ANSWER = _HEAD | {
    "system_fingerprint": "fp_1f3870be274f",
    "choices": [{"index": 0, "text": "\nWhat say you", "logprobs": None, "finish_reason": "length"}],
    "usage": {"prompt_tokens": 6, "completion_tokens": 13, "total_tokens": 19},
}
_CHUNKS = (
    'data: {"id":"cmpl-4f0c3f2e","object":"text_completion","created":1764460800,"model":"shakespeare",'
    '"choices":[{"index":0,"text":"W","logprobs":null,"finish_reason":null}]}\n\ndata: [DONE]\n\n'
)


def _refusal(description: str, message: str, kind: str, code: str, param: str | None = None) -> dict[str, Any]:
    body = {"error": {"message": message, "type": kind, "param": param, "code": code}}
    return {"model": OpenAIError, "description": description, "content": {"application/json": {"example": body}}}


_INVALID, _SERVER = "invalid_request_error", "server_error"
_NO_MODEL = _refusal(
    "No such model", "there is no model 'hamlet'; there are: shakespeare", _INVALID, "model_not_found", "model"
)
_NOT_READY = _refusal("Not ready: loading, failed or stopping", "the service is not ready", _SERVER, "not_ready")

MODEL_RESPONSES: Responses = {
    400: _refusal("A header is invalid", "must be a whole number of milliseconds", _INVALID, "invalid_value"),
    404: _NO_MODEL,
}

COMPLETION_RESPONSES: Responses = {
    200: {
        "description": "The texts; with `stream` server-sent events",
        "content": {
            "application/json": {"example": _ANSWER},
            "text/event-stream": {"schema": {"type": "string"}, "example": _CHUNKS},
        },
    },
    400: _refusal("A value is invalid, or the body is not JSON", "top_p: must be at most 1", _INVALID, "invalid_value"),
    404: _NO_MODEL,
    409: _refusal("Another request holds the session", "the session is in use", _INVALID, "session_busy"),
    413: _refusal("The request body is too large", "the body is larger than 2097152 bytes", _INVALID, "body_too_large"),
    415: _refusal("The body is not declared as JSON", "send JSON, and say so", _INVALID, "unsupported_media_type"),
    429: _refusal("The queue is full; Retry-After says when", "1024 requests wait", "rate_limit_error", "overloaded"),
    500: _refusal("The model failed", "graph 'step' failed", _SERVER, "inference_failed"),
    503: _NOT_READY,
    504: _refusal("Deadline exceeded", "the answer was not ready in time", _SERVER, "deadline_exceeded"),
}

EMBEDDING_EXAMPLES: dict[str, Example] = {
    "one": {
        "summary": "One text",
        "value": {"model": "intent-en", "input": "book a flight to Rome"},
    },
    "several": {
        "summary": "Several texts, as the model computes them",
        "value": {"model": "intent-en", "input": ["book a flight", "order a pizza"], "normalize": False},
    },
    "base64": {
        "summary": "float32 in base64, as OpenAI's clients ask for it",
        "value": {"model": "shakespeare", "input": "To be, or not to be", "encoding_format": "base64"},
    },
}

_VECTORS = {
    "object": "list",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.0412, -0.0173, 0.0958]}],
    "model": "intent-en",
    "usage": {"prompt_tokens": 5, "total_tokens": 5},
}
EMBEDDING_RESPONSES: Responses = {
    **{status: answer for status, answer in COMPLETION_RESPONSES.items() if status not in (200, 409)},
    200: {"description": "A vector for each input", "content": {"application/json": {"example": _VECTORS}}},
    400: _refusal("A value is invalid, or the body is not JSON", "input: must be text", _INVALID, "invalid_value"),
}

TRANSCRIPTION_RESPONSES: Responses = {
    **{status: answer for status, answer in COMPLETION_RESPONSES.items() if status not in (200, 409, 415)},
    200: {
        "description": "The text, as `response_format` says",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["text"],
                    "properties": {"text": {"type": "string"}},
                    "additionalProperties": True,
                },
                "example": {"text": "one seven", "usage": {"type": "duration", "seconds": 2}},
            },
            "text/plain": {"schema": {"type": "string"}, "example": "one seven\n"},
            "text/event-stream": {
                "schema": {"type": "string"},
                "example": 'data: {"type":"transcript.text.delta","delta":"one seven"}\n\n',
            },
        },
    },
    400: _refusal("A field is invalid, or the body is no form", "file: the file is empty", _INVALID, "invalid_value"),
}
