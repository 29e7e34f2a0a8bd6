"""Dispatch of requests to the routes of protocols, in place of FastAPI's routing.

Matching the path by patterns, resolving dependencies in worker threads, parsing a body with one library and validating
it with another costs more than the answer of a small model. Here most paths are found in a dict, and the bytes go
straight into pydantic's own JSON parser.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.admission import admit
from service.api.body_limit import max_body_bytes
from service.api.call import Call, Services
from service.api.error_table import ClientGone, error_response
from service.api.protocol import Match
from service.api.request_record import RequestRecord
from service.api.validation.content_coding import HeldBodies, Inflater, UncountedBodies

OnFailure = Callable[[Match, bytes, RequestRecord, Exception], None]


class Dispatcher:
    """Answers requests to routes of protocols, and passes all others to the framework."""

    def __init__(
        self,
        framework: ASGIApp,
        services: Services,
        held: HeldBodies | None = None,
        on_failure: OnFailure | None = None,
    ) -> None:
        """`held` counts the bytes of all bodies that are held; `on_failure` learns of requests that were refused."""
        self._framework = framework
        self._services = services
        self._on_failure = on_failure
        self._inflater = Inflater(services.settings.max_body_bytes, UncountedBodies() if held is None else held)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As an ASGI application. The scope's state has the record, and the match if there is one."""
        match: Match | None = scope["state"].get("match") if scope["type"] == "http" else None
        if match is None:
            await self._framework(scope, receive, send)
            return
        record = scope["state"]["record"]
        try:
            call = self._call(match, record, receive)
            response = await self._respond(match, call, await _read_body(receive))
        except Exception as error:
            response = error_response(record, error, match.errors)
        await response(scope, receive, send)

    async def respond(self, match: Match, body: bytes, record: RequestRecord) -> Response:
        """Without ASGI: the response to a request whose body is complete; an EventStream has not begun yet."""
        try:
            call = self._call(match, record, None)
            if record.headers.content_encoding:
                response = await self._respond(match, call, body)
            else:  # the same without two coroutines in between, through which every step of the work would go
                _require_body(record, body)
                response = await match.route.respond(call, body)
        except Exception as error:
            if self._on_failure is not None:
                self._on_failure(match, body, record, error)
            return error_response(record, error, match.errors)
        record.status = response.status_code
        return response

    async def _respond(self, match: Match, call: Call, raw: bytes) -> Response:
        """Inflate the body if it was compressed, and answer. Raises what the error table knows."""
        record = call.record
        if not record.headers.content_encoding:
            _require_body(record, raw)
            return await match.route.respond(call, raw)
        most = max_body_bytes(match, self._services.settings, self._services.registry)
        async with self._inflater.inflated(raw, record.headers.content_encoding, most) as body:
            _require_body(record, body)
            return await match.route.respond(call, body)

    def _call(self, match: Match, record: RequestRecord, receive: Receive | None) -> Call:
        admit(self._services.access, record, match.route.needs)
        match.route.require_media_type(record.headers.content_type)
        return Call(self._services, record, match.path_values, match.errors, receive)


def _require_body(record: RequestRecord, body: bytes) -> None:
    """Raises BodyTooLarge. A body in chunks declares no length, and a compressed one another."""
    if record.caller is not None:
        record.caller.require_body(len(body))


async def _read_body(receive: Receive) -> bytes:
    raw = bytearray()  # grows in place: joining bytes anew with each part takes the square of their number
    has_more = True
    while has_more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        raw += message.get("body", b"")
        has_more = message.get("more_body", False)
    return bytes(raw)
