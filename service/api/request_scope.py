"""Around every request: its id, trace, log line and metrics, and the limit on its body."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextvars import Token
from typing import NamedTuple

from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.admission import settle
from service.api.error_table import Failure, error_response, plain_body
from service.api.event_stream import EventStream
from service.api.protocol import Match, RouteTable
from service.api.request_record import REQUEST_ID_HEADER, KnownHeaders, RequestRecord, request_id_of
from service.api.request_report import log_fields, traced_request
from service.observability.json_logs import log_request, request_fields_var
from service.observability.metrics import NO_MODEL, Metrics
from service.observability.scrape.loop_metrics import LoopCount, LoopObservations
from service.observability.spans import Tracer

logger = logging.getLogger("service.requests")

TOO_MANY_OPEN = Failure(429, "overloaded", "too many requests are being answered at this moment")
_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
_OTHER_METHOD = "other"
#: Of a declared length: more of them are too many whatever they are.
_MAX_DIGITS = 19
#: In place of the path where nothing is served: clients must not be able to create values of labels.
UNMATCHED = "unmatched"
#: In place of the protocol there.
NO_PROTOCOL = "none"

Headers = Iterable[tuple[bytes, bytes]]
#: What a request counts: requests, those of its protocol, its duration, and requests of the version that answered.
Series = tuple[LoopCount, LoopCount, LoopObservations, LoopCount | None]
#: Answers a POST request of a protocol whose body is complete; errors are responses too.
Respond = Callable[[Match, bytes, RequestRecord], Awaitable[Response]]
StreamWriter = Callable[[EventStream], Awaitable[None]]


class Surroundings(NamedTuple):
    """What a request's proxy and page have to do with it.

    Attributes:
        client_of: the address of the client behind the address of the connection, by the request's headers.
        add_headers: adds what the page that sent the request needs to the headers of the response; None: nothing.
    """

    client_of: Callable[[str, Headers], str] = lambda peer, _: peer
    add_headers: Callable[[Headers, list[tuple[bytes, bytes]]], None] | None = None


class RequestScope:
    """The outermost ASGI application, so that nothing happens outside a request's record.

    Requests to protocols are counted, logged and traced, and so are requests for which there is no route or no such
    method. Requests to the service's own pages and probes are logged at debug level only.

    Attributes:
        num_open: requests to protocols that are being answered.
    """

    def __init__(
        self,
        app: ASGIApp,
        respond: Respond,
        routes: RouteTable,
        metrics: Metrics,
        max_body_bytes: Callable[[Match | None], int],
        tracer: Tracer | None = None,
        surroundings: Surroundings | None = None,
    ) -> None:
        self.num_open = 0
        self._app = app
        self._respond = respond
        self._routes = routes
        self._metrics = metrics
        self._max_body_bytes = max_body_bytes
        self._tracer = tracer
        self._client_of, self._add_headers = surroundings or Surroundings()
        #: Found once for each combination of labels, of which there are few: looking them up takes as long as counting.
        self._series: dict[tuple[str, str, str, str, str], Series] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; an error that nothing else caught becomes a plain 500 with the request's id."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        match = self._routes.find(scope["method"], scope["path"])
        record, token = self._begin(match, scope["headers"])
        record.client = self._client_of((scope.get("client") or [""])[0], scope["headers"])
        scope.setdefault("state", {}).update(record=record, match=match)
        sending = self._recording(record, scope["headers"], send)
        try:
            await self._app(scope, self._limited(match, record.headers, receive), sending)
        except Exception as error:
            await self._end_with(record, error, scope, receive, sending)
        finally:
            if match is None:
                self._report_other(record, scope)
            else:
                self._report(record, scope["method"])
            request_fields_var.reset(token)

    async def around(
        self,
        match: Match,
        headers: Headers,
        body: bytes,
        write_stream: StreamWriter,
        client: str = "",
    ) -> Response | None:
        """The same for a POST request whose body is complete, without ASGI.

        Returns the response, or None once a stream has been written. Raises nothing but cancellation.
        """
        self.num_open += 1
        record, token = self._begin(match, headers)
        record.client = self._client_of(client, headers) if record.headers.is_forwarded else client
        try:
            response = await self._respond(match, body, record)  # an error response where the route raised
            response.raw_headers += record.headers_out
            if self._add_headers is not None:
                self._add_headers(headers, response.raw_headers)
            if isinstance(response, EventStream):
                await write_stream(response)
                return None
        except Exception as error:
            _log_broken_stream(record, error)
            return None
        except asyncio.CancelledError:
            record.outcome = "cancelled"
            raise
        finally:
            self.num_open -= 1
            self._report(record, "POST")
            request_fields_var.reset(token)
        return response

    def note_left(self, match: Match, headers: Headers) -> None:
        """Report a POST request whose client disconnected in the middle of the body."""
        record, token = self._begin(match, headers)
        record.outcome = "cancelled"
        self._report(record, "POST")
        request_fields_var.reset(token)

    def begin(self, route: str, protocol: str, headers: Headers, client: str) -> RequestRecord:
        """The record of a request that did not come by HTTP/1; `end` it. `client` is the address of the connection."""
        record = RequestRecord.of(route, headers)
        record.protocol = protocol
        record.client = self._client_of(client, headers) if record.headers.is_forwarded else client
        if self._tracer is not None:
            record.trace = self._tracer.begin(record.trace, route)
        return record

    def client_of(self, client: str, headers: Headers) -> str:
        """The address of the client behind the address of a connection, by the headers of its request."""
        return self._client_of(client, headers)

    def end(self, record: RequestRecord) -> None:
        """Report such a request, which has ended in whatever way."""
        self._report(record, "POST")

    def end_probe(self, record: RequestRecord) -> None:
        """The same for a probe, which is neither counted nor logged where others are."""
        log_request(logger, logging.DEBUG, log_fields(record, "POST", time.monotonic() - record.started_s))

    def shed(self, protocol: str) -> None:
        """Count a request beyond the limit of open ones. Nothing is logged."""
        self._metrics.requests.labels(NO_MODEL, NO_MODEL, "overloaded").inc()
        self._metrics.protocol_requests.labels(protocol, "overloaded").inc()
        self._metrics.rejections.labels("too_many_open").inc()

    def refuse(self, match: Match, headers: Headers) -> Response:
        """The response to a request beyond the limit of open ones. Its body is not read, and nothing is logged."""
        self.shed(match.protocol.name)
        request_id = request_id_of(KnownHeaders.of(headers).request_id)
        body = to_json(match.errors.body(TOO_MANY_OPEN))
        response_headers = {"Retry-After": "1", REQUEST_ID_HEADER: request_id}
        return self._shared(
            headers, Response(body, TOO_MANY_OPEN.status, response_headers, media_type="application/json")
        )

    def turn_away(
        self, failure: Failure, match: Match | None, method: str, headers: Headers, *, is_counted: bool
    ) -> Response:
        """The response to a request that its connection refuses, in the form of its route if that is known.

        It is reported, unless its load must be shed or it has been reported (`is_counted` is false).
        """
        record, token = self._begin(match, headers)
        record.outcome, record.status, record.rejection = failure.error_type, failure.status, failure.error_type
        if is_counted and failure.error_type == TOO_MANY_OPEN.error_type:
            self._count(record, 0.0)
        elif is_counted:
            self._report(record, method)
        request_fields_var.reset(token)
        form = plain_body if match is None else match.errors.body
        body = to_json(form(failure._replace(request_id=record.request_id)))
        response_headers = {**failure.headers, REQUEST_ID_HEADER: record.request_id}
        return self._shared(headers, Response(body, failure.status, response_headers, media_type="application/json"))

    def _shared(self, request_headers: Headers, response: Response) -> Response:
        """The response, readable for a page of another origin where that is allowed."""
        if self._add_headers is not None:
            self._add_headers(request_headers, response.raw_headers)
        return response

    def _recording(self, record: RequestRecord, request_headers: Headers, send: Send) -> Send:
        """`send`, which completes the head of the response and keeps its status."""

        async def recording(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                message["headers"] = [*message.get("headers", ()), *record.headers_out]
                if self._add_headers is not None:
                    self._add_headers(request_headers, message["headers"])
            await send(message)

        return recording

    def _limited(self, match: Match | None, headers: KnownHeaders, receive: Receive) -> Receive:
        """`receive`, but the body ends with a 413 as soon as it is known to be too large."""
        declared = headers.content_length
        declared_bytes = int(declared.lstrip(b"0")[:_MAX_DIGITS] or b"0") if declared.isdigit() else 0
        max_bytes = self._max_body_bytes(match)
        if declared.isdigit() and declared_bytes <= max_bytes:
            return receive  # the server holds a body to its declared length
        num_bytes = 0

        async def limited() -> Message:
            nonlocal num_bytes
            if declared.isdigit():
                raise _too_large(max_bytes)
            message = await receive()
            num_bytes += len(message.get("body", b""))
            if num_bytes > max_bytes:
                raise _too_large(max_bytes)
            return message

        return limited

    def _begin(self, match: Match | None, headers: Headers) -> tuple[RequestRecord, Token[Mapping[str, str]]]:
        """The record of a request that has arrived; all lines logged from now on carry its id."""
        record = RequestRecord.of(UNMATCHED if match is None else match.route.path, headers)
        if match is not None:
            record.protocol = match.protocol.name
        if self._tracer is not None and match is not None:
            record.trace = self._tracer.begin(record.trace, record.route)
        return record, request_fields_var.set(record.identity)

    async def _end_with(
        self, record: RequestRecord, error: Exception, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if record.status:  # the response has begun: the server closes the connection
            _log_broken_stream(record, error)
        else:
            await error_response(record, error)(scope, receive, send)

    def _report_other(self, record: RequestRecord, scope: Scope) -> None:
        """Report a request without a protocol."""
        if "endpoint" in scope:
            record.route = getattr(scope.get("route"), "path", "")
        method = scope["method"] if scope["method"] in _METHODS else _OTHER_METHOD
        duration_s = time.monotonic() - record.started_s
        is_refused = record.route == UNMATCHED or record.status == 405
        if is_refused:
            self._count(record, duration_s)
        log_request(logger, logging.INFO if is_refused else logging.DEBUG, log_fields(record, method, duration_s))

    def _report(self, record: RequestRecord, method: str) -> None:
        settle(record)
        duration_s = time.monotonic() - record.started_s
        self._count(record, duration_s)
        log_request(logger, logging.INFO, log_fields(record, method, duration_s))
        if self._tracer is not None and record.trace is not None and record.trace.is_sampled:
            request = traced_request(record, record.trace, method, duration_s)
            asyncio.get_running_loop().call_soon(self._tracer.finish, request)  # when the response has been written

    def _count(self, record: RequestRecord, duration_s: float) -> None:
        key = (record.protocol, record.model, record.task, record.outcome, record.version)
        found = self._series.get(key)
        if found is None:
            found = self._series[key] = self._find_series(*key)
        requests, by_protocol, duration, by_version = found
        requests.value += 1
        by_protocol.value += 1
        if by_version is not None:
            by_version.value += 1
        duration.observe(duration_s, record.exemplar)
        if record.rejection:
            self._metrics.rejections.labels(record.rejection).inc()

    def _find_series(self, protocol: str, model: str, task: str, outcome: str, version: str) -> Series:
        metrics = self._metrics
        return (
            metrics.requests.labels(model, task, outcome),
            metrics.protocol_requests.labels(protocol or NO_PROTOCOL, outcome),
            metrics.request_duration.labels(model, task),
            metrics.version_requests.labels(model, version, outcome) if version else None,
        )


def _log_broken_stream(record: RequestRecord, error: Exception) -> None:
    logger.error("Stream failed with an unexpected error", exc_info=error)
    record.outcome = "internal"


def _too_large(max_bytes: int) -> HTTPException:
    return HTTPException(413, f"the body is larger than {max_bytes} bytes")
