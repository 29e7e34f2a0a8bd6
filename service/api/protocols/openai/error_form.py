"""Errors as OpenAI's clients read them: `{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from service.api.error_table import ErrorForm, Failure, with_reasons
from service.api.protocols.openai.examples import OpenAIError
from service.errors import InvalidInput, StateRefused

#: Codes that OpenAI has a word for; the others are our own `error_type`.
_CODES = {
    "not_found": "unknown_url",
    "rate_limited": "rate_limit_exceeded",
    "unauthenticated": "invalid_api_key",
    "unknown_model": "model_not_found",
    "validation": "invalid_value",
}
#: The field at fault by `error_type`, where the error itself names none.
_PARAMS = {
    "session_busy": "session",
    "state_refused": "state",
    "unknown_model": "model",
    "unknown_session": "session",
}
_RATE_LIMIT_STATUS = 429

_INSTEAD = (
    "POST /v1/completions continues a prompt, POST /v1/embeddings gives vectors, and GET /v1/models lists the models"
)
_NO_CHAT = f"these models continue text and know no chat; {_INSTEAD}"
_OTHERS = (
    "assistants", "audio/speech", "audio/translations", "batches", "edits", "files",
    "fine_tuning/jobs", "images/edits", "images/generations", "moderations", "rerank", "threads", "vector_stores",
)  # fmt: skip


def openai_body(failure: Failure) -> dict[str, Any]:
    """The body of an error. `param` is the first field at fault, null where there is none."""
    error = {
        "message": with_reasons(failure),
        "type": _type_of(failure.status),
        "param": _param_of(failure),
        "code": _CODES.get(failure.error_type, failure.error_type),
    }
    return {"error": error}


def _type_of(status: int) -> str:
    if status == _RATE_LIMIT_STATUS:
        return "rate_limit_error"
    return "server_error" if status >= 500 else "invalid_request_error"


def _param_of(failure: Failure) -> str | None:
    fields: list[Mapping[str, str]] = list(failure.fields)
    if fields and fields[0]["field"]:
        return fields[0]["field"]
    return _PARAMS.get(failure.error_type)


OPENAI_ERRORS = ErrorForm(
    answer=OpenAIError,
    body=openai_body,
    rows={InvalidInput: (400, "validation"), StateRefused: (400, "state_refused")},
    absent={f"/v1/{name}": f"this is not served; {_INSTEAD}" for name in _OTHERS}
    | {"/v1/chat/completions": _NO_CHAT, "/v1/responses": _NO_CHAT},
    final=frozenset({"deadline_exceeded", "failed_bundle", "internal"}),
)
