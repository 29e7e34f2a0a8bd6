"""The errors that every route of a kind may answer with, by status, for the OpenAPI document."""

from __future__ import annotations

from typing import Any

from service.api.error_table import ERRORS, ErrorForm
from service.errors import (
    DeadlineExceeded,
    Forbidden,
    InvalidInput,
    NotReady,
    Overloaded,
    Unauthenticated,
    UnknownModel,
    UnrollError,
)

_OF_EVERY_ROUTE: dict[type[UnrollError], str] = {
    InvalidInput: "A value is invalid",
    Unauthenticated: "No valid API key, where keys are needed",
    Forbidden: "The API key lacks a scope",
    Overloaded: "Busy, or a limit of the API key is reached; Retry-After says when",
    UnrollError: "A fault of the service",
    NotReady: "Not ready: loading, failed or stopping",
}
_OF_MODELS: dict[type[UnrollError], str] = {UnknownModel: "No such model"}
_OF_WORK: dict[type[UnrollError], str] = {DeadlineExceeded: "Deadline exceeded"}
_OF_BODIES = {
    400: "The body is malformed, or a value is invalid",
    413: "The request body is too large",
    415: "A media type or a Content-Encoding that is not read",
}


def refusals(form: ErrorForm, *, has_body: bool, has_model: bool) -> dict[int | str, dict[str, Any]]:
    """Statuses with their descriptions, for a route that reads a body or names a model."""
    errors = _OF_EVERY_ROUTE | (_OF_MODELS if has_model else {}) | (_OF_WORK if has_body else {})
    described = {form.rows.get(error, ERRORS[error])[0]: text for error, text in errors.items()}
    described |= _OF_BODIES if has_body else {}
    return {status: {"description": text} for status, text in described.items()}
