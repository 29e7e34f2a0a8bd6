"""The bounded protocol with a fast path for plain requests.

ASGI needs a task, two queues of messages and several calls through layers for each request, which costs as much as a
small model. A plain POST to a route of a protocol goes straight to the application instead: one task, one write. A
health probe that finds all well takes no task. A head that is byte for byte one that was parsed before is not parsed
again.
Everything else, and every unusual form of the same request, takes uvicorn's own path through ASGI.

It subclasses what uvicorn does not promise to keep: `missing_pieces` says at start whether it is still there.
"""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Coroutine
from typing import Any, Protocol

import httptools
from starlette.responses import Response
from starlette.types import Message
from uvicorn.protocols.http import httptools_impl
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from service.api.event_stream import EventStream
from service.api.protocol import Match
from service.api.request_scope import Headers, StreamWriter
from service.server.bounded_lifetime import Refuser
from service.server.bounded_protocol import BoundedProtocol
from service.server.connection_parts import response_head
from service.server.edge.host_check import HostCheck
from service.server.edge.known_heads import KnownHead, KnownHeads
from service.server.open_connections import SMALL_BODY_BYTES, OpenConnections
from service.server.shedding.encoded_refusal import EncodedRefusal
from service.server.websocket.places import SharedByWebSockets


class Responder(Refuser, Protocol):
    """What answers requests: the application."""

    @property
    def open_connections(self) -> OpenConnections: ...
    @property
    def host_check(self) -> HostCheck | None: ...
    @property
    def websockets(self) -> SharedByWebSockets: ...
    def find_post(self, url: bytes) -> Match | None: ...
    def probe(self, url: bytes, headers: Headers) -> bytes | None: ...
    def shed(self, match: Match, headers: Headers, body: bytes | bytearray, client: str) -> EncodedRefusal | None: ...
    def respond(
        self, match: Match, headers: Headers, body: bytes, write_stream: StreamWriter, client: str = ""
    ) -> Coroutine[Any, Any, Response | None]: ...
    def note_left(self, match: Match, headers: Headers) -> None: ...


class PlainCycle:
    """One request and its response, in the shape in which uvicorn's protocol keeps track of them.

    The protocol clears `more_body`, sets `disconnected`, and calls `message_event.set()` after each.
    """

    def __init__(self, protocol: FastPathProtocol) -> None:
        self.more_body = True
        self.disconnected = False
        self.response_complete = False
        self.keep_alive = True
        self._protocol = protocol

    @property
    def message_event(self) -> PlainCycle:
        """What the protocol sets. A property, since an object that holds itself waits for the garbage collector."""
        return self

    @property
    def can_say_close(self) -> bool:
        """Whether the head of the response is still to be written."""
        return not self.response_complete

    def _write_bytes(self, response: bytes) -> None:
        self._protocol.transport.write(response)
        self._complete()

    def _first_lines(self, status: int) -> bytes:
        """Status line, and the headers that every response has."""
        lines = [] if self.keep_alive else [(b"connection", b"close")]
        return response_head(status, [*self._protocol.server_state.default_headers, *lines])[:-2]

    def _complete(self) -> None:
        self.response_complete = True
        if not self.keep_alive:
            self._protocol.transport.close()
        self._protocol.on_response_complete()


class ProbeCycle(PlainCycle):
    """A probe, whose answer was known when its head was complete."""

    def __init__(self, protocol: FastPathProtocol, rest: bytes) -> None:
        """`rest` is what follows the headers that every response has."""
        super().__init__(protocol)
        self._rest = rest

    def set(self) -> None:
        """Answer, once the request is complete."""
        if not (self.disconnected or self.more_body or self.response_complete):
            self._write_bytes(self._first_lines(200) + self._rest)


class FastPathCycle(PlainCycle):
    """A request to a route of a protocol."""

    def __init__(self, protocol: FastPathProtocol, match: Match, headers: list[tuple[bytes, bytes]]) -> None:
        super().__init__(protocol)
        self._body: bytes | bytearray = b""
        self._match = match
        self._headers = headers
        self._has_begun = False
        self._task: asyncio.Task[None] | None = None
        #: Of a stream: done when the client disconnects.
        self._disconnect: asyncio.Future[None] | None = None

    @property
    def can_say_close(self) -> bool:
        """Whether the head of the response is still to be written."""
        return not self.response_complete and self._disconnect is None

    def set(self) -> None:
        """Something has changed: the body is complete, or the client has disconnected."""
        if self.disconnected:
            self._drop()
        elif not (self.more_body or self._has_begun or self.response_complete):
            self._begin()

    def take(self, part: bytes) -> None:
        """Add to the body. Most bodies come as one part, which is not copied; others are joined in place."""
        if not self._body:
            self._body = part
        elif isinstance(self._body, bytes):
            self._body = bytearray(self._body) + part
        else:
            self._body += part

    def _drop(self) -> None:
        """The client has disconnected."""
        task, disconnect = self._task, self._disconnect
        if not self._has_begun:
            self._protocol.responder.note_left(self._match, self._headers)
        elif disconnect is None and task is not None:
            task.add_done_callback(self._protocol.tasks.discard)  # it may not have begun
            task.cancel()
            self._task = None  # its error has this: else the two wait for the garbage collector
        elif disconnect is not None and not disconnect.done():
            disconnect.set_result(None)

    def _begin(self) -> None:
        """Start the work, or refuse it before anything is done for it: load shedding must cost little."""
        protocol = self._protocol
        client = (protocol.client or ("",))[0]
        shed = protocol.responder.shed(self._match, self._headers, self._body, client)
        if shed is not None:
            self._write_bytes(self._first_lines(shed.status) + shed.rest)
            return
        self._has_begun = True
        self._task = task = protocol.loop.create_task(self._answer(client))
        protocol.tasks.add(task)  # for which the server waits when it stops

    async def _answer(self, client: str) -> None:
        """The task of the request."""
        protocol = self._protocol
        body, self._body = bytes(self._body), b""
        try:
            response = await protocol.responder.respond(self._match, self._headers, body, self._write_stream, client)
            if protocol.transport.is_closing():
                return
            if response is not None:
                self._write_bytes(self._head(response.status_code, response.raw_headers) + response.body)
            elif not self.response_complete:  # a stream that failed: without its end the client knows
                protocol.transport.close()
        finally:
            if self._task is not None:
                protocol.tasks.discard(self._task)

    async def _write_stream(self, response: EventStream) -> None:
        """Write a stream in chunks, as fast as the client reads."""
        self._disconnect = self._protocol.loop.create_future()
        response.open_outlet(self)
        await response({}, self._receive, self._send)

    @property
    def is_ready(self) -> bool:
        """Of a stream: whether its client reads as fast as frames are written."""
        protocol = self._protocol
        return not (protocol.flow.write_paused or self.disconnected or protocol.transport.is_closing())

    def write_frame(self, frame: bytes) -> None:
        """Write a part of a stream: a chunk of its own, so that it is not held back."""
        self._protocol.transport.write(b"%x\r\n%b\r\n" % (len(frame), frame))

    async def _receive(self) -> Message:
        """The only ASGI message that a stream waits for."""
        assert self._disconnect is not None, "a stream is being written"
        await self._disconnect
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        """Take one ASGI message of a stream."""
        protocol = self._protocol
        if protocol.flow.write_paused:
            await protocol.flow.drain()
        if self.disconnected or protocol.transport.is_closing():
            return
        if message["type"] == "http.response.start":
            head = self._head(message["status"], message["headers"], (b"transfer-encoding", b"chunked"))
            protocol.transport.write(head)
        elif message["more_body"]:
            self.write_frame(message["body"])
        else:
            protocol.transport.write(b"0\r\n\r\n")
            self._complete()

    def _head(self, status: int, headers: Headers, *more: tuple[bytes, bytes]) -> bytes:
        """Status line and headers."""
        lines = [*self._protocol.server_state.default_headers, *headers, *more]
        if not self.keep_alive:
            lines.append((b"connection", b"close"))
        return response_head(status, lines)


class FastPathProtocol(BoundedProtocol):
    """Use a subclass with `responder` and `open_connections` set: see `fast_path_protocol`."""

    responder: Responder
    known_heads: KnownHeads
    #: What arrived last, if a request begins with it, until its head has been read.
    _beginning: bytes | None = None

    def data_received(self, data: bytes) -> None:
        """Answer a whole plain request whose head is known; leave all else to the parser."""
        if not self._is_between_requests():
            super().data_received(data)
            return
        found = self.known_heads.find(data)
        if found is None or not self._take_known(*found):
            self._beginning = data
            super().data_received(data)

    def _is_between_requests(self) -> bool:
        """Whether what arrives is the beginning of a request, which may be answered at once."""
        is_parsing = self.is_in_body or self.num_head_bytes or self.num_held_bytes
        is_busy = self.cycle is not None and not self.cycle.response_complete
        return not (is_parsing or is_busy or self.is_ending or self.flow.write_paused)

    def _take_known(self, head: KnownHead, body: bytes) -> bool:
        """Begin to answer a request; False if it must be looked at closely after all."""
        if head.num_body_bytes > SMALL_BODY_BYTES:
            return False
        cycle: FastPathCycle | ProbeCycle
        if head.match is not None:
            cycle = FastPathCycle(self, head.match, head.headers)
            cycle.take(body)
        elif (rest := self.responder.probe(head.target, head.headers)) is not None:
            cycle = ProbeCycle(self, rest)
        else:
            return False
        if not self.may_take(head.headers, head.num_body_bytes):
            return False
        self.deadline_s = math.inf
        self.cycle = cycle
        cycle.more_body = False
        cycle.set()
        return True

    def on_headers_complete(self) -> None:
        """Check the head, and begin to answer the request."""
        try:
            super().on_headers_complete()
        finally:
            self._beginning = None  # what follows is not the beginning

    def begin_request(self) -> None:
        """Take the fast path if the request has the plain form."""
        match = self.responder.find_post(self.url) if self._is_plain(b"POST") else None
        if match is not None:
            self._learn(match)
            self.cycle = FastPathCycle(self, match, self.headers)
        elif self._is_plain(b"GET") and (rest := self._probe()) is not None:
            self._learn(None)
            self.cycle = ProbeCycle(self, rest)
        else:
            super().begin_request()

    def _probe(self) -> bytes | None:
        """The answer to a probe without a body that finds all well."""
        return None if self.num_left_bytes else self.responder.probe(self.url, self.headers)

    def _learn(self, match: Match | None) -> None:
        """Remember the head, if it arrived in one piece."""
        if self._beginning is not None:
            self.known_heads.learn(self._beginning, match, self.headers, self.num_left_bytes, self.url)

    def take_body(self, body: bytes) -> None:
        """Give a part of the body to the cycle."""
        if isinstance(self.cycle, FastPathCycle):
            self.cycle.take(body)
        else:
            super().take_body(body)

    def drop_request(self) -> None:
        """Make the cycle of an incomplete request end; on the fast path nothing has begun."""
        if isinstance(self.cycle, FastPathCycle):
            self.cycle = None
        else:
            super().drop_request()

    def _is_plain(self, method: bytes) -> bool:
        """Whether the request has this method, and a body of declared length or none."""
        parser = self.parser
        return (
            parser.get_method() == method
            and not self.is_chunked
            and parser.get_http_version() == "1.1"
            and parser.should_keep_alive()
            and not self.expect_100_continue
            and self.limit_concurrency is None
        )


def fast_path_protocol(application: Responder) -> type[FastPathProtocol]:
    """The protocol for this application, to be given to uvicorn."""
    members = {
        "responder": application,
        "open_connections": application.open_connections,
        "host_check": application.host_check,
        "websockets": application.websockets,
        "known_heads": KnownHeads(),
    }
    return type("BoundFastPathProtocol", (FastPathProtocol,), members)


#: What the protocol reads, replaces or calls, and with how many arguments besides `self`.
_METHODS = {
    "connection_lost": 1,
    "connection_made": 1,
    "data_received": 1,
    "on_body": 1,
    "on_header": 2,
    "on_headers_complete": 0,
    "on_message_begin": 0,
    "on_message_complete": 0,
    "on_response_complete": 0,
    "on_url": 1,
    "pause_writing": 0,
    "resume_writing": 0,
}
_FLOW_MEMBERS = ("drain", "pause_reading", "resume_reading")
_PARSER_MEMBERS = ("feed_data", "get_http_version", "get_method", "should_keep_alive", "should_upgrade")
_INSTANCE_NAMES = (
    "client", "cycle", "expect_100_continue", "flow", "headers", "limit_concurrency", "loop", "parser", "server_state",
    "tasks", "total_requests", "transport", "url",
)  # fmt: skip
#: What uvicorn's protocol does to the cycle of a request.
_CYCLE_NAMES = ("body", "disconnected", "keep_alive", "message_event", "more_body", "response_complete")
#: What its own cycle has, besides.
_OWN_CYCLE_NAMES = ("response_started", "transport")


def missing_pieces() -> list[str]:
    """The pieces of uvicorn and httptools that the fast path needs and does not find, by name."""
    protocol, names = httptools_impl.HttpToolsProtocol, _names_in(httptools_impl.HttpToolsProtocol)
    missing = [f"HttpToolsProtocol.{name}" for name, count in _METHODS.items() if not _takes(protocol, name, count)]
    missing += [f"HttpToolsProtocol.{name}" for name in (*_INSTANCE_NAMES, *_CYCLE_NAMES) if name not in names]
    own_names = _names_in(httptools_impl.RequestResponseCycle)
    missing += [f"RequestResponseCycle.{name}" for name in _OWN_CYCLE_NAMES if name not in own_names]
    missing += [f"FlowControl.{name}" for name in _FLOW_MEMBERS if not hasattr(FlowControl, name)]
    missing += [] if "write_paused" in _names_in(FlowControl) else ["FlowControl.write_paused"]
    missing += [
        f"HttpRequestParser.{name}" for name in _PARSER_MEMBERS if not hasattr(httptools.HttpRequestParser, name)
    ]
    return missing + ([] if STATUS_LINE.get(200) == b"HTTP/1.1 200 OK\r\n" else ["STATUS_LINE"])


def _takes(kind: type, name: str, num_arguments: int) -> bool:
    method = getattr(kind, name, None)
    return method is not None and len(inspect.signature(method).parameters) == num_arguments + 1


def _names_in(kind: type) -> set[str]:
    """Every name that the methods of a class use, its attributes included."""
    functions = [member for member in vars(kind).values() if inspect.isfunction(member)]
    return {name for function in functions for name in function.__code__.co_names}
