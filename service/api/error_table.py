"""Every error as an HTTP answer: one table from class to status and `error_type`, and one body shape."""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from service.api.dependencies import ClientGone
from service.api.request_record import RequestRecord
from service.errors import (
    BundleError,
    DeadlineExceeded,
    InferenceFailed,
    InvalidInput,
    NotReady,
    Overloaded,
    SessionBusy,
    StateRefused,
    UnknownModel,
    UnknownSession,
    UnrollError,
)
from service.tasks.core.parameters import plain_message

#: class -> (status, error_type). A subclass without its own row takes that of its base.
ERRORS: Mapping[type[UnrollError], tuple[int, str]] = {
    InvalidInput: (422, "validation"),
    UnknownModel: (404, "unknown_model"),
    Overloaded: (429, "overloaded"),
    NotReady: (503, "not_ready"),
    StateRefused: (422, "state_refused"),
    UnknownSession: (404, "unknown_session"),
    SessionBusy: (409, "session_busy"),
    DeadlineExceeded: (504, "deadline_exceeded"),
    InferenceFailed: (500, "inference_failed"),
    BundleError: (503, "not_ready"),
    UnrollError: (500, "internal"),
}
#: On the generation routes a failed graph is told as text-generation-inference tells it.
GENERATION_FAILED = (424, "generation")
STATE_TOO_LARGE = (413, "state_refused")

#: What the framework itself refuses.
HTTP_ERROR_TYPES = {
    400: "malformed_json",
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "unsupported_media_type",
}

CLIENT_GONE_STATUS = 499

_RETRY_WHEN_NOT_READY_S = 2.0
_MAX_FIELD_CHARACTERS = 100

#: Tags that our unions put into pydantic's paths; they are no part of what the caller wrote.
UNION_TAGS = frozenset({"list_of_inputs", "item_text", "item_words", "item_frames", "item_wav", "item_png"})


def status_and_type(error: UnrollError, path: str = "") -> tuple[int, str]:
    """The row of the table for this error; `path` is the route's."""
    if isinstance(error, StateRefused) and error.reason == "too_large":
        return STATE_TOO_LARGE
    if isinstance(error, InferenceFailed) and path.startswith("/generate"):
        return GENERATION_FAILED
    return next(ERRORS[base] for base in type(error).__mro__ if base in ERRORS)


def rejection_of(error: UnrollError, error_type: str) -> str:
    """One word for why no model ran, more exact than `error_type` where there is more to say; empty if one did."""
    match error:
        case InvalidInput() | UnknownModel() | UnknownSession() | SessionBusy():
            return error_type
        case Overloaded():
            return "queue_full"
        case NotReady():
            return error.cause
        case BundleError():
            return "failed_bundle"
        case StateRefused():
            return f"state_{error.reason}"
    return ""


def error_body(
    message: str, error_type: str, detail: Sequence[Mapping[str, str]] = (), request_id: str = "", **more: Any
) -> dict[str, Any]:
    """`error` and `error_type` always; `detail` names fields; `request_id` finds the log line."""
    body: dict[str, Any] = {"error": message, "error_type": error_type}
    if detail:
        body["detail"] = list(detail)
    if request_id:
        body["request_id"] = request_id
    return body | more


def body_of(error: UnrollError, error_type: str, request_id: str = "") -> dict[str, Any]:
    """The body for one of our own errors."""
    if isinstance(error, InvalidInput):
        detail = [{"field": field_path(error.field), "message": error.message}] if error.field else []
        prefix = f"{field_path(error.field)}: " if error.field else ""
        return error_body(prefix + error.message, error_type, detail, request_id)
    if isinstance(error, UnknownModel):
        return error_body(str(error), error_type, request_id=request_id, available=list(error.available))
    if isinstance(error, NotReady) and error.reasons:
        return error_body(str(error), error_type, request_id=request_id, reasons=list(error.reasons))
    if isinstance(error, StateRefused):
        return error_body(str(error), error_type, request_id=request_id, reason=error.reason)
    return error_body(str(error), error_type, request_id=request_id)


def json_response(body: Mapping[str, Any], status: int, headers: Mapping[str, str] | None = None) -> Response:
    """ASCII-only JSON: a name that the caller sent may hold half a surrogate pair, which UTF-8 cannot."""
    return Response(json.dumps(body, allow_nan=False), status, headers, media_type="application/json")


def field_path(location: Sequence[str | int]) -> str:
    """`("inputs", 2)` as `inputs.2`."""
    return ".".join(str(part)[:_MAX_FIELD_CHARACTERS] for part in location)


def install_error_handlers(app: FastAPI) -> None:
    """Make every refusal of this app, ours and the framework's, follow the table."""
    for kind, answer in _ANSWERS.items():
        app.add_exception_handler(kind, _as_handler(answer))


def error_response(record: RequestRecord, error: Exception) -> Response:
    """The answer for this error. An error that is in no table is raised again."""
    for base in type(error).__mro__:
        if base in _ANSWERS:
            return _ANSWERS[base](record, error)
    raise error


def _as_handler(answer: _AnswerTo) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def handler(request: Request, error: Exception) -> Response:
        return answer(request.state.record, error)

    return handler


def _on_unroll_error(record: RequestRecord, error: Exception) -> Response:
    assert isinstance(error, UnrollError)
    status, error_type = status_and_type(error, record.path)
    record.rejection = rejection_of(error, error_type)
    return _answer(record, body_of(error, error_type, record.request_id), status, _retry_after(error))


def _on_validation_error(record: RequestRecord, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problems = error.errors()
    if problems[0]["type"] == "json_invalid":
        return _refuse(record, 400, f"the body is not JSON: {problems[0]['ctx']['error']}")
    detail = [{"field": field_path(_location(problem)), "message": _message(problem)} for problem in problems]
    message = "; ".join(f"{d['field']}: {d['message']}" if d["field"] else d["message"] for d in detail)
    record.rejection = "validation"
    return _answer(record, error_body(message, "validation", detail, record.request_id), 422)


def _on_http_error(record: RequestRecord, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = "the body is not JSON that can be read" if error.status_code == 400 else str(error.detail).lower()
    return _refuse(record, error.status_code, message, error.headers)


def _on_client_gone(record: RequestRecord, _: Exception) -> Response:
    """Nobody reads this answer; its status is for the log."""
    record.outcome, record.status = "cancelled", CLIENT_GONE_STATUS
    return Response(status_code=CLIENT_GONE_STATUS)


_AnswerTo = Callable[[RequestRecord, Exception], Response]

#: What is raised on the way to an answer, and how it is told.
_ANSWERS: Mapping[type[Any], _AnswerTo] = {
    UnrollError: _on_unroll_error,
    RequestValidationError: _on_validation_error,
    HTTPException: _on_http_error,
    ClientGone: _on_client_gone,
}


def _refuse(record: RequestRecord, status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    error_type = HTTP_ERROR_TYPES.get(status, "refused")
    record.rejection = error_type
    return _answer(record, error_body(message, error_type, (), record.request_id), status, headers)


def _answer(
    record: RequestRecord, body: Mapping[str, Any], status: int, headers: Mapping[str, str] | None = None
) -> Response:
    record.outcome, record.status = body["error_type"], status
    return json_response(body, status, headers)


def _retry_after(error: UnrollError) -> dict[str, str]:
    if isinstance(error, Overloaded):
        return {"Retry-After": str(max(1, math.ceil(error.retry_after_s)))}
    if isinstance(error, NotReady):
        return {"Retry-After": str(math.ceil(_RETRY_WHEN_NOT_READY_S))}
    return {}


def _location(problem: Mapping[str, Any]) -> list[str | int]:
    """pydantic's path without where it was found (body, query, header) and without the tags of unions."""
    return [part for part in problem["loc"][1:] if part not in UNION_TAGS]


def _message(problem: Mapping[str, Any]) -> str:
    if problem["type"] == "extra_forbidden":
        return "there is no such field"
    if problem["type"] == "missing":
        return "this field is needed" if len(problem["loc"]) > 1 else "a JSON body is needed"
    return plain_message(problem)
