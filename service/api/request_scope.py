"""Around every request: id, trace, log line, metrics, and the limit on its body. Plain ASGI, so streams pass."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextvars import Token

from prometheus_client import Counter, Histogram
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.error_table import error_body, json_response
from service.api.request_record import REQUEST_ID_HEADER, KnownHeaders, RequestRecord, request_id_of
from service.api.request_report import log_fields, traced_request
from service.observability.json_logs import log_request, request_fields_var
from service.observability.metrics import NO_MODEL, Metrics
from service.observability.spans import Tracer

logger = logging.getLogger("service.requests")

_TOO_MANY = b'{"error":"too many requests are being answered at this moment","error_type":"overloaded"}'
_JSON = "application/json"
_MEASURED_PATHS = frozenset({"/predict", "/generate", "/generate_stream"})


class RequestScope:
    """ASGI middleware. Give it first place, so that nothing happens outside a request's record."""

    def __init__(self, app: ASGIApp, metrics: Metrics, max_body_bytes: int, tracer: Tracer | None = None) -> None:
        self._app = app
        self._metrics = metrics
        self._max_body_bytes = max_body_bytes
        self._tracer = tracer
        #: Found once for each combination of labels, of which there are few: looking them up takes as long as counting.
        self._series: dict[tuple[str, str, str], tuple[Counter, Histogram]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; a fault that nothing else caught becomes a plain 500 with the request's id."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record, token = self._begin(scope["path"], scope["headers"])
        scope.setdefault("state", {})["record"] = record
        sending = _recording(record, send)
        try:
            await self._app(scope, self._limited(record.headers, receive), sending)
        except Exception as error:
            response = _internal_error(record, error)
            if not record.status:  # else the answer has begun, and the server closes the connection
                await response(scope, receive, sending)
        finally:
            route = getattr(scope.get("route"), "path", "")
            self._report(record, scope["method"], route)
            request_fields_var.reset(token)

    async def around(
        self,
        path: str,
        headers: Iterable[tuple[bytes, bytes]],
        body: bytes,
        answer: Callable[[RequestRecord, bytes], Awaitable[Response]],
    ) -> Response:
        """The same for a POST request that came whole and without ASGI. Does not raise but for cancellation."""
        record, token = self._begin(path, headers)
        try:
            response = await answer(record, body)
        except Exception as error:
            response = _internal_error(record, error)
            record.status = response.status_code
        except asyncio.CancelledError:
            record.outcome = "cancelled"
            raise
        finally:
            self._report(record, "POST", path)
            request_fields_var.reset(token)
        response.raw_headers.append(record.id_header)
        return response

    def note_left(self, path: str, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Report a request of that kind whose caller left in the middle of the body."""
        record, token = self._begin(path, headers)
        record.outcome = "cancelled"
        self._report(record, "POST", path)
        request_fields_var.reset(token)

    def refuse(self, headers: Iterable[tuple[bytes, bytes]]) -> Response:
        """The answer to a request for which there is no room. Its body was not read, and nothing is logged of it."""
        self._metrics.requests.labels(NO_MODEL, NO_MODEL, "overloaded").inc()
        self._metrics.rejections.labels("too_many_open").inc()
        request_id = request_id_of(KnownHeaders.of(headers).request_id)
        return Response(_TOO_MANY, 429, {"Retry-After": "1", REQUEST_ID_HEADER: request_id}, media_type=_JSON)

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

    def _begin(
        self, path: str, headers: Iterable[tuple[bytes, bytes]]
    ) -> tuple[RequestRecord, Token[Mapping[str, str]]]:
        """The record of a request that has come; all lines that are logged from now on are written on its behalf."""
        record = RequestRecord.of(path, headers)
        if self._tracer is not None and path in _MEASURED_PATHS:
            record.trace = self._tracer.begin(record.trace, path)
        return record, request_fields_var.set(record.identity)

    def _report(self, record: RequestRecord, method: str, route: str) -> None:
        duration_s = time.monotonic() - record.started_s
        if route in _MEASURED_PATHS:
            self._count(record, duration_s)
            log_request(logger, logging.INFO, log_fields(record, method, route, duration_s))
            if self._tracer is not None and record.trace is not None and record.trace.is_sampled:
                request = traced_request(record, record.trace, method, route, duration_s)
                asyncio.get_running_loop().call_soon(self._tracer.finish, request)  # when the answer has been written
        elif logger.isEnabledFor(logging.DEBUG):
            log_request(logger, logging.DEBUG, log_fields(record, method, route, duration_s))

    def _count(self, record: RequestRecord, duration_s: float) -> None:
        key = (record.model, record.task, record.outcome)
        if key not in self._series:
            duration = self._metrics.request_duration.labels(record.model, record.task)
            self._series[key] = (self._metrics.requests.labels(*key), duration)
        requests, duration = self._series[key]
        requests.inc()
        duration.observe(duration_s, record.exemplar)
        if record.rejection:
            self._metrics.rejections.labels(record.rejection).inc()


def _recording(record: RequestRecord, send: Send) -> Send:
    async def recording(message: Message) -> None:
        if message["type"] == "http.response.start":
            record.status = message["status"]
            message["headers"] = [*message.get("headers", ()), record.id_header]
        await send(message)

    return recording


def _internal_error(record: RequestRecord, error: Exception) -> Response:
    logger.error("a request failed in a way that nothing foresaw", exc_info=error)
    record.outcome = "internal"
    message = "the service failed; the request id finds the reason in its log"
    return json_response(error_body(message, "internal", request_id=record.request_id), 500)
