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
from service.api.validation.content_coding import BodyRefused
from service.api.validation.problems import (
    as_many_as_fit,
    field_path,
    fields_at_fault,
    sentence_of,
    shortened,
)
from service.api.validation.unknown_path import methods_at, shown_path, unknown_method, unknown_path
from service.errors import (
    BodyTooLarge,
    BundleError,
    DeadlineExceeded,
    Forbidden,
    InferenceFailed,
    InvalidInput,
    NotReady,
    Overloaded,
    RateLimited,
    SessionBusy,
    StateRefused,
    Unauthenticated,
    UnknownModel,
    UnknownSession,
    UnrollError,
)

logger = logging.getLogger("service.requests")

#: Status and `error_type`.
Row = tuple[int, str]
Rows = Mapping[type[UnrollError], Row]

#: A subclass without its own row takes that of its base.
ERRORS: Rows = {
    InvalidInput: (422, "validation"),
    UnknownModel: (404, "unknown_model"),
    Unauthenticated: (401, "unauthenticated"),
    Forbidden: (403, "forbidden"),
    RateLimited: (429, "rate_limited"),
    BodyTooLarge: (413, "body_too_large"),
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
    409: "out_of_order",
    413: "body_too_large",
    415: "unsupported_media_type",
    426: "upgrade_required",
}

CLIENT_GONE_STATUS = 499

#: What the framework says about a path without a route, and a method that a path does not have.
_BARE_DETAILS = frozenset({"Not Found", "Method Not Allowed"})

_RETRY_WHEN_NOT_READY_S = 2.0
#: An answer to a bad request has at most 64 KB: one sentence, of up to 12 bytes a character, and two lists.
_MAX_SENTENCE_CHARACTERS = 2000
_MAX_PART_BYTES = 16 * 1024
_NOTHING: Mapping[Any, Any] = MappingProxyType({})
_NO_ROWS: Rows = MappingProxyType({})
_NO_RETRY = {"x-should-retry": "false"}


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


def with_reasons(failure: Failure) -> str:
    """The sentence, and why something is not ready, for forms that have no other place for that."""
    reasons: Sequence[str] = failure.more.get("reasons", ())
    return f"{failure.message}: {'; '.join(reasons)}" if reasons else failure.message


class ErrorForm(NamedTuple):
    """How a protocol writes errors.

    Attributes:
        body: makes the JSON body of a failure.
        rows: where the protocol differs from `ERRORS`.
        names: its own names of fields by those of `SamplingOptions`, for the paths of refused values.
        absent: for paths that its clients ask for and that are not served, a sentence about what there is instead.
        final: error types and rejections that a retry meets again: their responses have `x-should-retry: false`.
        answer: the type of the body in the OpenAPI document; None for `ErrorResponse`.
    """

    body: Callable[[Failure], Mapping[str, Any]] = plain_body
    rows: Rows = _NO_ROWS
    names: Mapping[str | int, str] = _NOTHING
    absent: Mapping[str, str] = _NOTHING
    final: frozenset[str] = frozenset()
    answer: Any = None


PLAIN = ErrorForm()


def status_and_type(error: UnrollError, rows: Rows = PLAIN.rows) -> Row:
    """The row of this error; `rows` go before the table."""
    if isinstance(error, StateRefused) and error.reason == "too_large":
        return STATE_TOO_LARGE
    return next(row for base in type(error).__mro__ if (row := rows.get(base) or ERRORS.get(base)))


def rejection_of(error: UnrollError, error_type: str) -> str:
    """Why no model ran, as one word that may be more exact than `error_type`; empty if one did."""
    match error:
        case InvalidInput() | UnknownModel() | UnknownSession() | SessionBusy() | Forbidden() | BodyTooLarge():
            return error_type
        case Unauthenticated():
            return f"key_{error.reason}"
        case RateLimited():
            return f"key_{error.limit}"
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
    if isinstance(error, (Overloaded, RateLimited)):
        return failure._replace(headers=_retry_after(error.retry_after_s))
    if isinstance(error, Unauthenticated):
        return failure._replace(headers={"WWW-Authenticate": _challenge(error)})
    if isinstance(error, StateRefused):
        return failure._replace(more={"reason": error.reason})
    return failure


def json_response(body: Mapping[str, Any], status: int, headers: Mapping[str, str] | None = None) -> Response:
    """ASCII-only JSON: a name that the client sent may hold half a surrogate pair, which UTF-8 cannot encode."""
    return Response(json.dumps(body, allow_nan=False), status, headers, media_type="application/json")


def install_error_handlers(app: FastAPI, forms: Mapping[str, ErrorForm] = _NOTHING) -> None:
    """Make the errors of FastAPI's own routes follow the table. `forms` are for unknown paths, by what they begin with.

    `forms` has the beginnings with their last slash, such as `/v1/`.
    """
    app.state.error_forms = forms
    for kind in (UnrollError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _handle)


def error_response(record: RequestRecord, error: Exception, form: ErrorForm = PLAIN) -> Response:
    """The response for this error, whatever it is; outcome, status and rejection go into the record."""
    if isinstance(error, ClientGone):  # nobody reads this response; its status is for the log
        record.outcome, record.status = "cancelled", CLIENT_GONE_STATUS
        return Response(status_code=CLIENT_GONE_STATUS)
    failure, record.rejection = described(error, form, record.request_id)
    record.outcome, record.status = failure.error_type, failure.status
    is_final = failure.error_type in form.final or record.rejection in form.final
    headers = {**failure.headers, **_NO_RETRY} if is_final else failure.headers
    return json_response(form.body(failure), failure.status, headers)


async def _handle(request: Request, error: Exception) -> Response:
    errors = getattr(request.scope.get("endpoint"), "errors", None) or _form_below(request)
    record = request.state.record
    if isinstance(error, HTTPException) and error.detail in _BARE_DETAILS:
        record.path = shown_path(request)
        error = _with_what_there_is(request, error, errors)
    return error_response(record, error, errors)


def _form_below(request: Request) -> ErrorForm:
    """The form of the protocol below whose root the path is."""
    forms: Mapping[str, ErrorForm] = request.app.state.error_forms
    return next((form for root, form in forms.items() if f"{_bare_path(request)}/".startswith(root)), PLAIN)


def _bare_path(request: Request) -> str:
    """The path in the service, without a slash at its end."""
    path: str = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    return path.rstrip("/")


def _with_what_there_is(request: Request, error: HTTPException, form: ErrorForm) -> HTTPException:
    """The error with a sentence; the framework names only the methods of the first route of a path."""
    if error.status_code != 404:
        allowed = ", ".join(methods_at(request.scope, request.app.routes))
        return HTTPException(error.status_code, unknown_method(request, allowed), {"Allow": allowed})
    instead = form.absent.get(_bare_path(request))
    sentence = unknown_path(request) if instead is None else f"there is nothing at {shown_path(request)}: {instead}"
    return HTTPException(404, sentence, error.headers)


def described(error: Exception, form: ErrorForm = PLAIN, request_id: str = "") -> tuple[Failure, str]:
    """The failure for any error, cut so that its answer is small, and why no model ran."""
    failure, rejection = _described(error, form, request_id)
    return _fitted(failure), rejection


def _described(error: Exception, form: ErrorForm, request_id: str) -> tuple[Failure, str]:
    if isinstance(error, UnrollError):
        failure = failure_of(error, form, request_id)
        return failure, rejection_of(error, failure.error_type)
    if isinstance(error, RequestValidationError):
        return _invalid_body(error, form, request_id)
    if isinstance(error, HTTPException):
        known = HTTP_ERROR_TYPES.get(error.status_code, "refused")
        error_type = error.error_type if isinstance(error, BodyRefused) else known
        failure = Failure(error.status_code, error_type, error.detail, request_id, headers=error.headers or {})
        return failure, error_type
    logger.error("Request failed with an unexpected error", exc_info=error)
    message = "internal error; the request id finds its cause in the log"
    return Failure(500, "internal", message, request_id), ""


def _invalid_body(error: RequestValidationError, form: ErrorForm, request_id: str) -> tuple[Failure, str]:
    status, error_type = form.rows.get(InvalidInput, ERRORS[InvalidInput])
    problems = error.errors()
    fields = fields_at_fault(problems)
    return Failure(status, error_type, sentence_of(fields, len(problems)), request_id, fields), error_type


def _fitted(failure: Failure) -> Failure:
    """The failure, cut so that its body is small: it may quote the request, or list every model."""
    more = {name: _fitted_value(value) for name, value in failure.more.items()}
    return failure._replace(
        message=shortened(failure.message, _MAX_SENTENCE_CHARACTERS),
        fields=as_many_as_fit(failure.fields, _MAX_PART_BYTES),
        more=more,
    )


def _fitted_value(value: Any) -> Any:
    return as_many_as_fit(value, _MAX_PART_BYTES) if isinstance(value, list) else value


def _challenge(error: Unauthenticated) -> str:
    """RFC 6750: an error is named only if a key was sent."""
    was_sent = error.reason in ("unknown", "expired")
    return 'Bearer realm="unroll", error="invalid_token"' if was_sent else 'Bearer realm="unroll"'


def _retry_after(seconds: float) -> dict[str, str]:
    return {"Retry-After": str(max(1, math.ceil(seconds)))}
