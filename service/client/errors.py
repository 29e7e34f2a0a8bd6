"""The errors of the client, as one tree. Those that the service answers have its status, code and request id.

ClientError
├── InvalidAddress      the base URL is none, or its scheme is not http or https
├── InvalidInput        a value breaks a rule; `field` is its path (400, 415, 422, or found before sending)
│   └── BodyTooLarge        the body is larger than the service or the key allows (413)
├── ConnectionFailed    no connection, or it was lost before the answer was complete
│   └── StreamBroken        a stream ended before its last event, and could not be resumed
├── TimedOut            no answer within the timeout of the call
├── ForeignAnswer       something answered that is not Unroll: a page of a proxy, a redirect, no JSON, too much
├── UnexpectedTask      the model answers another task than the one that was asked for
└── ServiceError        any other error that the service answers
    ├── Unauthenticated     no valid API key (401)
    ├── Forbidden           the key has no scope for this (403)
    ├── NotFound            no such path (404)
    │   ├── UnknownModel        no such model or version; `available` lists those that exist
    │   └── UnknownSession      no such session, or no longer
    ├── SessionBusy         another request holds the session (409)
    ├── StateRefused        a state cannot be continued from; `reason` is one word (422, 413)
    ├── Overloaded          try again after `retry_after_s` (429, 503)
    │   └── RateLimited         the key allows no more at the moment (429)
    ├── NotReady            loading, stopping, or this bundle failed (503)
    │   └── StreamClosing       a WebSocket ends as the service stops; `state` continues elsewhere
    ├── DeadlineExceeded    not ready before the deadline (504)
    └── InferenceFailed     a run of a graph failed (500, 424)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from service.errors import UnrollError


class FieldError(NamedTuple):
    """One invalid field, such as `inputs.2` or `parameters.top_k`."""

    field: str
    message: str


class ClientError(UnrollError):
    """Base of all errors of the client.

    Attributes:
        message: one sentence.
        status: of the HTTP answer; None if there was none.
        code: a word for programs, such as `unknown_model`: `error_type` of the service; None if it gave none.
        fields: the invalid fields, with a sentence each.
        request_id: finds the line in the log of the service.
        retry_after_s: how long the service asks to wait, in seconds; None if it does not say.
        body: the whole answer, with what this version of the client does not know.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        fields: tuple[FieldError, ...] = (),
        request_id: str | None = None,
        retry_after_s: float | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.fields = fields
        self.request_id = request_id
        self.retry_after_s = retry_after_s
        self.body: Mapping[str, Any] = body or {}

    @property
    def field(self) -> str | None:
        """The path of the first invalid field, such as `inputs.2`."""
        return self.fields[0].field if self.fields else None

    @property
    def reason(self) -> str | None:
        """Why a state was refused, as one word."""
        found = self.body.get("reason")
        return found if isinstance(found, str) else None

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the service or a model is not ready, one sentence each."""
        return _texts(self.body.get("reasons"))

    @property
    def available(self) -> tuple[str, ...]:
        """The models or versions that there are, where one was not found."""
        return _texts(self.body.get("available"))


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else ()


class InvalidAddress(ClientError, ValueError):
    """The base URL is none, or its scheme is not http or https."""


class ConnectionFailed(ClientError):
    """No connection, or it was lost before the answer was complete. `was_sent`: the service may have the request."""

    def __init__(self, message: str, *, was_sent: bool) -> None:
        super().__init__(message)
        self.was_sent = was_sent


class StreamBroken(ConnectionFailed):
    """A stream ended before its last event, and could not be resumed."""

    def __init__(self, message: str) -> None:
        super().__init__(message, was_sent=True)


class TimedOut(ClientError):
    """No answer within the timeout of the call. The service may still be at work on it."""


class ForeignAnswer(ClientError):
    """Something answered that is not Unroll: a page of a proxy, a redirect, no JSON, or more than allowed."""


class UnexpectedTask(ClientError):
    """The model answers another task than the one that was asked for."""


class InvalidInput(ClientError):
    """A value breaks a rule. `field` is its path, `fields` has them all."""

    @property
    def is_about_parameters(self) -> bool:
        """Whether another input would be refused in the same way."""
        return any(each.field.removeprefix("body.").startswith("parameters") for each in self.fields)


class BodyTooLarge(InvalidInput):
    """The body is larger than the service or the API key allows: send less at once."""


class ServiceError(ClientError):
    """Any other error that the service answers."""


class Unauthenticated(ServiceError):
    """There is no API key, or none that is valid."""


class Forbidden(ServiceError):
    """The API key has no scope for this; the message names it."""


class NotFound(ServiceError):
    """There is no such path."""


class UnknownModel(NotFound):
    """There is no such model or version. `available` lists those that exist."""


class UnknownSession(NotFound):
    """There is no such session: it never existed, or has expired."""


class SessionBusy(ServiceError):
    """Another request holds the session."""


class StateRefused(ServiceError):
    """A state cannot be continued from. `reason` says why, as one word."""


class Overloaded(ServiceError):
    """The service has no room at the moment. `retry_after_s` is how long to wait."""


class RateLimited(Overloaded):
    """The API key allows no more at the moment."""


class NotReady(ServiceError):
    """The service loads or stops, or this bundle failed. `reasons` has one sentence each."""


class StreamClosing(NotReady):
    """A WebSocket ends as the service stops. Open another with `state`, and send `held` again before what follows."""

    def __init__(self, message: str, state: str | None, held: str) -> None:
        super().__init__(message, code="not_ready")
        self.state = state
        self.held = held


class DeadlineExceeded(ServiceError):
    """The answer was not ready before the deadline."""


class InferenceFailed(ServiceError):
    """A run of a graph failed."""


#: By the code that the service gives.
BY_CODE: Mapping[str, type[ClientError]] = {
    "unauthenticated": Unauthenticated,
    "forbidden": Forbidden,
    "not_found": NotFound,
    "unknown_model": UnknownModel,
    "unknown_session": UnknownSession,
    "session_busy": SessionBusy,
    "state_refused": StateRefused,
    "rate_limited": RateLimited,
    "overloaded": Overloaded,
    "not_ready": NotReady,
    "deadline_exceeded": DeadlineExceeded,
    "inference_failed": InferenceFailed,
    "generation": InferenceFailed,
    "body_too_large": BodyTooLarge,
    # OpenAI's words, below `/v1`.
    "invalid_api_key": Unauthenticated,
    "invalid_value": InvalidInput,
    "model_not_found": UnknownModel,
    "rate_limit_exceeded": RateLimited,
    "unknown_url": NotFound,
}

#: By the status, where the code is unknown.
BY_STATUS: Mapping[int, type[ClientError]] = {
    400: InvalidInput,
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    413: BodyTooLarge,
    415: InvalidInput,
    422: InvalidInput,
    424: InferenceFailed,
    429: Overloaded,
    503: NotReady,
    504: DeadlineExceeded,
}


def error_of(
    body: Mapping[str, Any],
    status: int | None = None,
    *,
    request_id: str | None = None,
    retry_after_s: float | None = None,
) -> ClientError:
    """The error in an answer, an event or a message of the service."""
    body = _plain(body)
    code = body.get("error_type")
    kind = BY_CODE.get(str(code)) or BY_STATUS.get(status or 422, ServiceError)
    told_id = body.get("request_id")
    return kind(
        " ".join(str(body.get("error")).split())[:_MAX_MESSAGE_CHARACTERS],
        status=status,
        code=code if isinstance(code, str) else None,
        fields=_fields(body.get("detail")),
        request_id=told_id if isinstance(told_id, str) else request_id,
        retry_after_s=retry_after_s,
        body=body,
    )


_MAX_MESSAGE_CHARACTERS = 1000


def _plain(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """OpenAI's form of an error, which holds below `/v1`, as that of everywhere else."""
    told = body.get("error")
    if not isinstance(told, Mapping):
        return body
    message, field = told.get("message"), told.get("param")
    fields = [{"field": field, "message": message}] if field else None
    return {**body, "error": message, "error_type": told.get("code"), "detail": fields}


def _fields(detail: Any) -> tuple[FieldError, ...]:
    if not isinstance(detail, list):
        return ()
    return tuple(
        FieldError(str(each.get("field", "")), str(each.get("message", "")))
        for each in detail
        if isinstance(each, dict)
    )
