"""Around every call: its record, API key, limits and deadline, and the status that it ends with.

Nothing here raises into gRPC but cancellation and its own way of ending a call, so that no error of ours becomes one of
its statuses INTERNAL or UNKNOWN by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple, NoReturn, Protocol
from urllib.parse import unquote

import grpc.aio

from service.access.api_key import Scope
from service.api.admission import admit
from service.api.call import Call, Services
from service.api.protocols.open_inference.grpc_service.message_size import require_raw_tensors
from service.api.protocols.open_inference.grpc_service.received import Context, MessageReader
from service.api.protocols.open_inference.grpc_service.status import ERRORS, Refusal, metadata_of, refusal_of
from service.api.request_record import RequestRecord
from service.api.request_scope import RequestScope
from service.api.validation.content_coding import HeldBodies
from service.errors import BodyTooLarge, Overloaded, StillOpening
from service.observability.json_logs import request_fields_var

#: The label of the protocol in the metrics.
NAME = "open-inference-grpc"
SERVICE = "inference.GRPCInferenceService"

Respond = Callable[[Call, bytes], Awaitable[bytes]]
HeaderList = list[tuple[bytes, bytes]]

TOO_MANY = "too many requests are being answered at this moment"


class Method(NamedTuple):
    """One method of the service: the bytes of a request message to those of its response.

    Attributes:
        scope: what an API key needs; `open`: a probe, which is answered under any load and logged at debug level only.
        takes_sound: its message, a `ModelInferRequest`, may hold sound, and be as large as sound is.
    """

    name: str
    respond: Respond
    scope: Scope = "any"
    takes_sound: bool = False

    @property
    def route(self) -> str:
        """Its path, as metrics, log and traces have it."""
        return f"/{SERVICE}/{self.name}"


class Room(Protocol):
    """The number of requests of the whole service that may be open at once."""

    def enter(self) -> bool:
        """Begin a request, if there is room for it; then `leave`."""

    def leave(self) -> None:
        """A request has ended."""


class Arrival(NamedTuple):
    """What a call says before its first message. `ends_s`: how long it may take by its own deadline."""

    headers: HeaderList
    client: str
    ends_s: float | None


class Calls:
    """Answers calls. One for each service; use it in the event loop."""

    def __init__(self, services: Services, reports: RequestScope, room: Room, held: HeldBodies, max_bytes: int) -> None:
        """`max_bytes` is the limit of the port on a message."""
        self.services = services
        self.room = room
        self.reports = reports
        self.max_bytes = max_bytes
        self.messages = MessageReader(services.settings, held, max_bytes)

    async def unary(self, method: Method, context: Context) -> bytes:
        """The response of a method with one request. It is read when its caller is known."""
        is_counted = method.scope != "open"
        if is_counted and not self.room.enter():
            self.reports.shed(NAME)
            await abort(context, overload_of(TOO_MANY))
        try:
            with self.recorded(method.route, arrival_of(context), is_counted=is_counted) as (record, arrival):
                try:
                    call = self.call(record, arrival, method.scope)
                    raw = await self.messages.receive(context)
                    response = await self.messages.using(raw, partial(self._respond, call, method))
                except Exception as error:
                    await abort(context, refusal_of(record, error))
                context.set_trailing_metadata(metadata_of(record))
            return response
        finally:
            if is_counted:
                self.room.leave()

    @contextmanager
    def recorded(
        self, route: str, arrival: Arrival, *, is_counted: bool = True
    ) -> Iterator[tuple[RequestRecord, Arrival]]:
        """The record of a request, which is reported when the context ends; a probe is not counted."""
        record = self.reports.begin(route, NAME, arrival.headers, arrival.client)
        request_fields_var.set(record.identity)  # of this task
        record.status, record.grpc_status = 200, "OK"
        try:
            yield record, arrival
        except (asyncio.CancelledError, GeneratorExit):
            record.outcome, record.grpc_status = "cancelled", "CANCELLED"
            raise
        finally:
            if is_counted:
                self.reports.end(record)
            else:
                self.reports.end_probe(record)

    def call(self, record: RequestRecord, arrival: Arrival, scope: Scope) -> Call:
        """What the method answers with. Raises Unauthenticated, Forbidden, RateLimited, InvalidInput."""
        admit(self.services.access, record, scope)
        call = Call(self.services, record, {}, ERRORS, None)
        if arrival.ends_s is not None:
            call.deadline_s = min(call.deadline_s, record.started_s + arrival.ends_s)
        return call

    async def _respond(self, call: Call, method: Method, message: bytes) -> bytes:
        """The response to a message. Raises what the error table knows."""
        require_body(call, message, takes_sound=method.takes_sound)
        while True:
            try:
                return await method.respond(call, message)
            except StillOpening as opening:  # nothing has begun yet: the engine is found first
                await call.until_open(opening)


def require_body(call: Call, message: bytes, *, takes_sound: bool) -> None:
    """Raises BodyTooLarge for a message that is larger than the key allows, or than such a message may be."""
    call.num_body_bytes = len(message)
    if len(message) > (most := call.settings.max_body_bytes):
        if not takes_sound:
            raise BodyTooLarge(f"the message is larger than {most} bytes")
        require_raw_tensors(message, most)
    if call.record.caller is not None:
        call.record.caller.require_body(len(message))


def overload_of(message: str) -> Refusal:
    """The refusal of a request beyond what may be open at once."""
    return refusal_of(RequestRecord.of("", ()), Overloaded(message))


def arrival_of(context: Context) -> Arrival:
    """The metadata as headers, the address of the client and the time that is left."""
    headers = [
        (name.encode(), value.encode("latin-1", "replace") if isinstance(value, str) else value)
        for name, value in context.invocation_metadata() or ()
    ]
    left_s: float | None = context.time_remaining()  # None without a deadline
    return Arrival(headers, _address_of(context.peer()), left_s)


def _address_of(peer: str) -> str:
    """The address in `ipv4:127.0.0.1:41234` or `ipv6:%5B::1%5D:41234`; empty for another kind of connection."""
    kind, _, address = peer.partition(":")
    if kind not in ("ipv4", "ipv6"):
        return ""
    host = address.rpartition(":")[0]
    return host if kind == "ipv4" else unquote(host).strip("[]")


async def abort(context: Context, refusal: Refusal) -> NoReturn:
    """End a call by a status, if its client is still there to be told."""
    try:
        await context.abort(refusal.code, refusal.message, refusal.metadata)
    except grpc.aio.AbortError:
        raise
    except grpc.aio.BaseError as error:  # the client has left, which gRPC is about to tell this call
        raise asyncio.CancelledError from error
