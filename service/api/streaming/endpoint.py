"""`/stream` as an ASGI application: who may open a connection, its record, and its session."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.api.admission import admit, settle
from service.api.call import Call, Services
from service.api.error_table import PLAIN, error_response
from service.api.protocol import Protocol, Route
from service.api.request_record import RequestRecord
from service.api.request_scope import Headers
from service.api.schemas import ErrorResponse
from service.api.streaming.channel import Channel, Left
from service.api.streaming.origin import is_allowed_origin
from service.api.streaming.reading import HeldBytes, StreamContext
from service.api.streaming.report import NAME, StreamReports
from service.api.streaming.session import StreamSession
from service.observability.json_logs import request_fields_var
from service.observability.metrics import Metrics

PATH = "/stream"
_NO_WEBSOCKET = {"error": "open this address as a WebSocket", "error_type": "upgrade_required"}


async def stream(_call: Call, _body: bytes) -> Response:
    """Open it as a WebSocket: input that arrives in pieces, and answers that leave in pieces.

    Messages are JSON objects with a `type`: `start`, then `text`, `frames` or messages of bytes, each answered with
    `result`, then `end`, which is answered with `final`. They are described, with their JSON schema, in the
    documentation of the WebSocket.
    """
    needed = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    raise HTTPException(426, _NO_WEBSOCKET["error"], headers=needed)


PROTOCOL = Protocol(
    name=NAME,
    tag="inference",
    routes=[
        Route(
            PATH,
            stream,
            bytes,
            method="GET",
            summary="Stream input and answers over a WebSocket",
            responses={
                101: {"description": "The connection is a WebSocket from now on"},
                426: {
                    "model": ErrorResponse,
                    "description": "The request asks for no WebSocket",
                    "content": {"application/json": {"example": _NO_WEBSOCKET}},
                },
            },
        )
    ],
)


class StreamEndpoint:
    """Answers the WebSockets of a service."""

    def __init__(
        self,
        services: Services,
        metrics: Metrics,
        held_bytes: HeldBytes,
        has_room: Callable[[], bool],
        allowed_origins: Container[str] = (),
        client_of: Callable[[str, Headers], str] = lambda peer, _: peer,
    ) -> None:
        """`has_room` says whether one more request may be answered now; `allowed_origins` are those of other sites.

        `client_of` gives the address of the client behind the address of the connection, by the request's headers.
        """
        self.reports = StreamReports(metrics, has_room)
        self._services = services
        self._held_bytes = held_bytes
        self._allowed_origins = allowed_origins
        self._client_of = client_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection. Raises CancelledError if its client leaves while it is answered."""
        await receive()  # the request, whose head is in the scope
        record = RequestRecord.of(PATH, scope["headers"])
        record.protocol = NAME
        record.client = self._client_of((scope.get("client") or [""])[0], scope["headers"])
        token = request_fields_var.set(record.identity)
        try:
            if not is_allowed_origin(scope["headers"], self._allowed_origins):
                raise HTTPException(403, "only pages of this service may open a stream here: see the header Origin")
            call = open_call(self._services, record)
        except Exception as error:
            await self._refuse(record, error, send)
        else:
            await self._serve(call, receive, send)
        finally:
            settle(record)
            request_fields_var.reset(token)

    async def _serve(self, call: Call, receive: Receive, send: Send) -> None:
        record, channel = call.record, Channel(receive, send, self.reports.count_message)
        record.status = 101
        context = StreamContext(call, self._held_bytes, call.deadline_s - record.started_s)
        session = StreamSession(self._services.registry, context, channel, self.reports)
        with self.reports.connection(record, channel):
            try:
                await send({"type": "websocket.accept", "headers": [record.id_header]})
                await session.run()
            except Left:
                pass
            except asyncio.CancelledError:
                record.outcome = "cancelled"
                raise

    async def _refuse(self, record: RequestRecord, error: Exception, send: Send) -> None:
        """Answer the handshake with a response of HTTP."""
        response = error_response(record, error)
        headers = [*response.raw_headers, record.id_header]
        await send({"type": "websocket.http.response.start", "status": response.status_code, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": bytes(response.body)})
        self.reports.refused(record)


def open_call(services: Services, record: RequestRecord) -> Call:
    """Who opens the connection, and what holds for all of its inputs; `settle` its record when it has ended.

    A connection counts as one request of its API key; the engines of its models ask for the scopes.

    Raises:
        InvalidInput: the timeout header is not a positive number.
        Unauthenticated, Forbidden, RateLimited.
    """
    admit(services.access, record, "any")
    return Call(services, record, {}, PLAIN, None)
