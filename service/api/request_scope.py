"""Around every request: its id, its log line, its metrics, and the limit on its body. Plain ASGI, so streams pass."""

from __future__ import annotations

import itertools
import logging
import re
import secrets
import time
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.error_table import error_body, json_response
from service.inference.predict_engine import Timings
from service.log_config import request_id_var
from service.metrics import NO_MODEL, Metrics

logger = logging.getLogger("service.requests")

REQUEST_ID_HEADER = "X-Request-Id"
TIMEOUT_HEADER = "X-Request-Timeout-Ms"
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_MEASURED_PATHS = frozenset({"/predict", "/generate", "/generate_stream"})

# Ids that we make are unique because of what is random in each process, and counted within it.
_PROCESS_ID = secrets.token_hex(12)
_COUNTER = itertools.count(1)


class KnownHeaders(NamedTuple):
    """The request headers that mean something here, as they came; empty where one is absent."""

    content_type: bytes = b""
    content_length: bytes = b""
    request_id: bytes = b""
    timeout_ms: bytes = b""
    authorization: bytes = b""

    @classmethod
    def of(cls, scope: Scope) -> KnownHeaders:
        """Found in one pass; of a header that is repeated the last counts."""
        found = {_FIELDS[name]: value for name, value in scope["headers"] if name in _FIELDS}
        return cls(**found)


_FIELDS = {
    b"content-type": "content_type",
    b"content-length": "content_length",
    REQUEST_ID_HEADER.lower().encode(): "request_id",
    TIMEOUT_HEADER.lower().encode(): "timeout_ms",
    b"authorization": "authorization",
}


@dataclass(slots=True)
class RequestRecord:
    """What the log and the metrics will say about a request; routes fill it in as they learn more."""

    request_id: str
    headers: KnownHeaders
    model: str = NO_MODEL
    version: str = ""
    task: str = NO_MODEL
    outcome: str = "ok"
    status: int = 0
    timings: Timings | None = None
    started_s: float = field(default_factory=time.monotonic)


class RequestScope:
    """ASGI middleware. Give it first place, so that nothing happens outside a request's record."""

    def __init__(self, app: ASGIApp, metrics: Metrics, max_body_bytes: int) -> None:
        self._app = app
        self._metrics = metrics
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; a fault that nothing else caught becomes a plain 500 with the request's id."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = KnownHeaders.of(scope)
        record = RequestRecord(_request_id(headers.request_id), headers)
        scope.setdefault("state", {})["record"] = record
        token = request_id_var.set(record.request_id)
        try:
            await self._app(scope, self._limited(headers, receive), _recording(record, send))
        except Exception:
            logger.exception("a request failed in a way that nothing foresaw")
            record.outcome = "internal"
            await _answer_internal(record, scope, receive, send)
        finally:
            self._report(record, scope)
            request_id_var.reset(token)

    def _limited(self, headers: KnownHeaders, receive: Receive) -> Receive:
        """`receive`, but the body ends with a 413 as soon as it is known to be too large."""
        declared = headers.content_length
        if declared.isdigit() and int(declared[:20]) <= self._max_body_bytes:
            return receive  # the server holds a body to its declared length
        num_bytes = 0

        async def limited() -> Message:
            nonlocal num_bytes
            if declared.isdigit():
                raise self._too_large()
            message = await receive()
            num_bytes += len(message.get("body", b""))
            if num_bytes > self._max_body_bytes:
                raise self._too_large()
            return message

        return limited

    def _too_large(self) -> HTTPException:
        return HTTPException(413, f"the body is larger than {self._max_body_bytes} bytes")

    def _report(self, record: RequestRecord, scope: Scope) -> None:
        duration_s = time.monotonic() - record.started_s
        path = getattr(scope.get("route"), "path", "")
        is_measured = path in _MEASURED_PATHS
        if is_measured:
            self._metrics.requests.labels(record.model, record.task, record.outcome).inc()
            self._metrics.request_duration.labels(record.model, record.task).observe(duration_s)
        level = logging.INFO if is_measured else logging.DEBUG
        if logger.isEnabledFor(level):
            logger.log(level, "request", extra=_log_fields(record, scope["method"], path, duration_s))


def _log_fields(record: RequestRecord, method: str, path: str, duration_s: float) -> dict[str, Any]:
    fields = {
        "method": method,
        "route": path,
        "status": record.status,
        "outcome": record.outcome,
        "duration_ms": round(duration_s * 1000, 3),
    }
    if record.model != NO_MODEL:
        fields |= {"model": record.model, "version": record.version, "task": record.task}
    if record.timings is not None:
        fields |= record.timings._asdict()
    return fields


def _request_id(given: bytes) -> str:
    """The caller's id if it is a plain one, else a new one: ids are written to logs and headers."""
    if given and _REQUEST_ID.fullmatch(given):
        return given.decode("ascii")
    return f"{_PROCESS_ID}{next(_COUNTER):08x}"


def _recording(record: RequestRecord, send: Send) -> Send:
    header = (REQUEST_ID_HEADER.lower().encode(), record.request_id.encode())

    async def recording(message: Message) -> None:
        if message["type"] == "http.response.start":
            record.status = message["status"]
            message["headers"] = [*message.get("headers", ()), header]
        await send(message)

    return recording


async def _answer_internal(record: RequestRecord, scope: Scope, receive: Receive, send: Send) -> None:
    if record.status:
        return  # the answer has begun; the server closes the connection
    message = "the service failed; the request id finds the reason in its log"
    body = error_body(message, "internal", request_id=record.request_id)
    await json_response(body, 500)(scope, receive, _recording(record, send))
