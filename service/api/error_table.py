"""Errors as HTTP responses: one table from error class to status and `error_type`, written in a protocol's own form."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

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

logger = logging.getLogger("service.requests")

#: Status and `error_type`.
Row = tuple[int, str]
Rows = Mapping[type[UnrollError], Row]

#: A subclass without its own row takes that of its base.
ERRORS: Rows = {
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
STATE_TOO_LARGE: Row = (413, "state_refused")

#: Errors of HTTP itself.
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
_NOTHING: Mapping[Any, Any] = MappingProxyType({})
_NO_ROWS: Rows = MappingProxyType({})

#: Tags of our unions in pydantic's error locations; they are not part of what the client sent.
UNION_TAGS = frozenset({"list_of_inputs", "item_text", "item_words", "item_frames", "item_wav", "item_png"})


class ClientGone(Exception):
    """The client disconnected before the response was ready."""


class Failure(NamedTuple):
    """Everything a protocol needs to write one error.

    Attributes:
        message: the whole sentence, with the name of the field at fault.
        request_id: finds the log line; empty where it is not repeated in the body.
        fields: `field` and `message` for each field at fault.
        more: what this kind of error adds for programs, such as the models there are.
    """

    status: int
    error_type: str
    message: str
    request_id: str = ""
    fields: Sequence[Mapping[str, str]] = ()
    more: Mapping[str, Any] = _NOTHING
    headers: Mapping[str, str] = _NOTHING


def plain_body(failure: Failure) -> dict[str, Any]:
    """The error body of every route that has no form of its own: `error` and `error_type` always."""
    body: dict[str, Any] = {"error": failure.message, "error_type": failure.error_type}
    if failure.fields:
        body["detail"] = list(failure.fields)
    if failure.request_id:
        body["request_id"] = failure.request_id
    return body | dict(failure.more)


class ErrorForm(NamedTuple):
    """How a protocol writes errors.

    Attributes:
        body: makes the JSON body of a failure.
        rows: where the protocol differs from `ERRORS`.
        names: its own names of fields by those of `SamplingOptions`, for the paths of refused values.
    """

    body: Callable[[Failure], Mapping[str, Any]] = plain_body
    rows: Rows = _NO_ROWS
    names: Mapping[str | int, str] = _NOTHING


PLAIN = ErrorForm()


def status_and_type(error: UnrollError, rows: Rows = PLAIN.rows) -> Row:
    """The row of this error; `rows` go before the table."""
    if isinstance(error, StateRefused) and error.reason == "too_large":
        return STATE_TOO_LARGE
    return next(row for base in type(error).__mro__ if (row := rows.get(base) or ERRORS.get(base)))


def rejection_of(error: UnrollError, error_type: str) -> str:
    """Why no model ran, as one word that may be more exact than `error_type`; empty if one did."""
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


def failure_of(error: UnrollError, form: ErrorForm = PLAIN, request_id: str = "") -> Failure:
    """One of our own errors, for a protocol to write: as a response, or as the last event of a stream."""
    status, error_type = status_and_type(error, form.rows)
    failure = Failure(status, error_type, str(error), request_id)
    if isinstance(error, InvalidInput) and error.field:
        path = field_path([form.names.get(part, part) for part in error.field])
        fields = [{"field": path, "message": error.message}]
        return failure._replace(message=f"{path}: {error.message}", fields=fields)
    if isinstance(error, UnknownModel):
        return failure._replace(more={"available": list(error.available)})
    if isinstance(error, NotReady):
        more = {"reasons": list(error.reasons)} if error.reasons else {}
        return failure._replace(more=more, headers=_retry_after(_RETRY_WHEN_NOT_READY_S))
    if isinstance(error, Overloaded):
        return failure._replace(headers=_retry_after(error.retry_after_s))
    if isinstance(error, StateRefused):
        return failure._replace(more={"reason": error.reason})
    return failure


def json_response(body: Mapping[str, Any], status: int, headers: Mapping[str, str] | None = None) -> Response:
    """ASCII-only JSON: a name that the client sent may hold half a surrogate pair, which UTF-8 cannot encode."""
    return Response(json.dumps(body, allow_nan=False), status, headers, media_type="application/json")


def field_path(location: Sequence[str | int]) -> str:
    """`("inputs", 2)` as `inputs.2`."""
    return ".".join(str(part)[:_MAX_FIELD_CHARACTERS] for part in location)


def install_error_handlers(app: FastAPI) -> None:
    """Make the errors of FastAPI's own routes follow the table."""
    for kind in (UnrollError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _handle)


def error_response(record: RequestRecord, error: Exception, form: ErrorForm = PLAIN) -> Response:
    """The response for this error, whatever it is; outcome, status and rejection go into the record."""
    if isinstance(error, ClientGone):  # nobody reads this response; its status is for the log
        record.outcome, record.status = "cancelled", CLIENT_GONE_STATUS
        return Response(status_code=CLIENT_GONE_STATUS)
    failure, record.rejection = _described(error, form, record.request_id)
    record.outcome, record.status = failure.error_type, failure.status
    return json_response(form.body(failure), failure.status, failure.headers)


async def _handle(request: Request, error: Exception) -> Response:
    errors = getattr(request.scope.get("endpoint"), "errors", PLAIN)
    return error_response(request.state.record, error, errors)


def _described(error: Exception, form: ErrorForm, request_id: str) -> tuple[Failure, str]:
    """The failure, and why no model ran."""
    if isinstance(error, UnrollError):
        failure = failure_of(error, form, request_id)
        return failure, rejection_of(error, failure.error_type)
    if isinstance(error, RequestValidationError):
        return _invalid_body(error, form, request_id)
    if isinstance(error, HTTPException):
        error_type = HTTP_ERROR_TYPES.get(error.status_code, "refused")
        failure = Failure(error.status_code, error_type, error.detail, request_id, headers=error.headers or {})
        return failure, error_type
    logger.error("Request failed with an unexpected error", exc_info=error)
    message = "internal error; the request id finds its cause in the log"
    return Failure(500, "internal", message, request_id), ""


def _invalid_body(error: RequestValidationError, form: ErrorForm, request_id: str) -> tuple[Failure, str]:
    problems = error.errors()
    if problems[0]["type"] == "json_invalid":
        message = f"the body is not JSON: {problems[0]['ctx']['error']}"
        return Failure(400, HTTP_ERROR_TYPES[400], message, request_id), HTTP_ERROR_TYPES[400]
    status, error_type = form.rows.get(InvalidInput, ERRORS[InvalidInput])
    fields = [{"field": field_path(_location(problem)), "message": _message(problem)} for problem in problems]
    message = "; ".join(f"{f['field']}: {f['message']}" if f["field"] else f["message"] for f in fields)
    return Failure(status, error_type, message, request_id, fields), error_type


def _retry_after(seconds: float) -> dict[str, str]:
    return {"Retry-After": str(max(1, math.ceil(seconds)))}


def _location(problem: Mapping[str, Any]) -> list[str | int]:
    """pydantic's path without where it was found (body, query, header) and without the tags of unions."""
    return [part for part in problem["loc"][1:] if part not in UNION_TAGS]


def _message(problem: Mapping[str, Any]) -> str:
    if problem["type"] == "extra_forbidden":
        return "there is no such field"
    if problem["type"] == "missing":
        return "this field is needed" if len(problem["loc"]) > 1 else "a JSON body is needed"
    return plain_message(problem)
