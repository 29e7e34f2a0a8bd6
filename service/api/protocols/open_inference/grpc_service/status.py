"""Errors as statuses of gRPC, by the canonical mapping from the statuses of the error table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import grpc

from service.api.error_table import ErrorForm, described, with_reasons
from service.api.request_record import RequestRecord
from service.errors import BundleError, InvalidInput, StateRefused

#: In trailing metadata: the kind of an error as one word for programs, as `error_type` has it over HTTP.
ERROR_TYPE = "error-type"
#: What gRPC's own retries wait for, in milliseconds; a negative number tells them not to retry.
PUSHBACK = "grpc-retry-pushback-ms"
RETRY_AFTER = "retry-after"
REQUEST_ID = "x-request-id"

Metadata = tuple[tuple[str, str], ...]

ERRORS = ErrorForm(
    rows={
        InvalidInput: (400, "validation"),
        StateRefused: (400, "state_refused"),
        BundleError: (412, "bundle_refused"),  # of a model that was to be loaded
    }
)

_CODES: Mapping[int, grpc.StatusCode] = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    409: grpc.StatusCode.ABORTED,
    412: grpc.StatusCode.FAILED_PRECONDITION,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    499: grpc.StatusCode.CANCELLED,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
#: Clients drop a status whose metadata is larger than 8 KB. A byte of it may take three on the way.
_MAX_MESSAGE_BYTES = 1500


class Refusal(NamedTuple):
    """The status of a call that failed. `code` is never INTERNAL or UNKNOWN for what the caller did wrong."""

    code: grpc.StatusCode
    message: str
    metadata: Metadata


def refusal_of(record: RequestRecord, error: Exception) -> Refusal:
    """The status for this error, whatever it is; outcome, status and rejection go into the record."""
    failure, record.rejection = described(error, ERRORS, record.request_id)
    code = _CODES.get(failure.status, grpc.StatusCode.INTERNAL)
    record.outcome, record.status, record.grpc_status = failure.error_type, failure.status, code.name
    metadata = [(ERROR_TYPE, failure.error_type), *metadata_of(record)]
    if (seconds := failure.headers.get("Retry-After")) is not None:
        metadata += [(RETRY_AFTER, seconds), (PUSHBACK, f"{seconds}000")]
    return Refusal(code, _cut(with_reasons(failure)), tuple(metadata))


def metadata_of(record: RequestRecord) -> Metadata:
    """What every answer has: the request id, and what the limits of the caller's key still allow."""
    if record.caller is None:
        return ((REQUEST_ID, record.request_id),)
    return tuple((name.decode(), value.decode()) for name, value in record.headers_out)


def _cut(message: str) -> str:
    raw = message.encode("utf-8", "replace")
    return (
        message if len(raw) <= _MAX_MESSAGE_BYTES else raw[: _MAX_MESSAGE_BYTES - 3].decode("utf-8", "ignore") + "..."
    )
