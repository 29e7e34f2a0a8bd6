"""uvicorn's HTTP/1.1 protocol with a fast path for plain requests.

ASGI needs a task, two queues of messages and several calls through layers for each request, which costs as much as a
small model. A plain POST to a route of a protocol goes straight to the application instead: one task, one write.
Everything else, and every unusual form of the same request, takes uvicorn's own path through ASGI.

It subclasses what uvicorn does not promise to keep: `missing_pieces` says at start whether it is still there.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterable
from typing import Any, Protocol

import httptools
from starlette.responses import Response
from starlette.types import Message
from uvicorn.protocols.http import httptools_impl
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from service.api.event_stream import EventStream
from service.api.protocol import Match
from service.api.request_scope import StreamWriter

Headers = Iterable[tuple[bytes, bytes]]


class Responder(Protocol):
    """What answers requests: the application."""

    @property
    def max_body_bytes(self) -> int: ...
    def find_post(self, url: bytes) -> Match | None: ...
    def refusal(self, match: Match, headers: Headers) -> Response | None: ...
    async def respond(
        self, match: Match, headers: Headers, body: bytes, write_stream: StreamWriter, client: str = ""
    ) -> Response | None: ...
    def note_left(self, match: Match, headers: Headers) -> None: ...


class FastPathCycle:
    """One request and its response, in the shape in which uvicorn's protocol keeps track of them.

    The protocol adds to `body`, clears `more_body`, sets `disconnected`, and calls `message_event.set()` after each.
    """

    def __init__(self, protocol: FastPathProtocol, match: Match, headers: list[tuple[bytes, bytes]]) -> None:
        self.body = b""
        self.more_body = True
        self.disconnected = False
        self.response_complete = False
        self.keep_alive = True
        self._protocol = protocol
        self._match = match
        self._headers = headers
        self._task: asyncio.Task[None] | None = None
        #: Of a stream: done when the client disconnects.
        self._disconnect: asyncio.Future[None] | None = None

    @property
    def message_event(self) -> FastPathCycle:
        """What the protocol sets. A property, since an object that holds itself waits for the garbage collector."""
        return self

    def set(self) -> None:
        """Something has changed: more of the body has arrived, or the client has disconnected."""
        if self.disconnected:
            self._drop()
            return
        # uvicorn stops reading when a body grows; its length is known to be allowed, and a disconnect must be seen.
        self._protocol.flow.resume_reading()
        if not self.more_body and self._task is None and not self.response_complete:
            self._begin()

    def _drop(self) -> None:
        """The client has disconnected."""
        if self._task is None:
            self._protocol.responder.note_left(self._match, self._headers)
        elif self._disconnect is None:
            self._task.cancel()
        elif not self._disconnect.done():
            self._disconnect.set_result(None)

    def _begin(self) -> None:
        """Start the work, or refuse it before anything is done for it: load shedding must cost little."""
        refusal = self._protocol.responder.refusal(self._match, self._headers)
        if refusal is not None:
            self._write(refusal)
            return
        self._task = self._protocol.loop.create_task(self._answer())
        self._protocol.tasks.add(self._task)
        self._task.add_done_callback(self._protocol.tasks.discard)

    async def _answer(self) -> None:
        responder = self._protocol.responder
        client = (self._protocol.client or ("",))[0]
        response = await responder.respond(self._match, self._headers, self.body, self._write_stream, client)
        if response is not None and not self.disconnected:
            self._write(response)
        elif not self.response_complete:  # a stream that failed: without its end the client knows
            self._protocol.transport.close()

    def _write(self, response: Response) -> None:
        head = self._head(response.status_code, response.raw_headers)
        self._protocol.transport.write(head + bytes(response.body))
        self._complete()

    async def _write_stream(self, response: EventStream) -> None:
        """Write a stream in chunks, as fast as the client reads."""
        self._disconnect = self._protocol.loop.create_future()
        await response({}, self._receive, self._send)

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
        if self.disconnected:
            return
        if message["type"] == "http.response.start":
            head = self._head(message["status"], message["headers"], (b"transfer-encoding", b"chunked"))
            protocol.transport.write(head)
        elif message["more_body"]:
            protocol.transport.write(b"%x\r\n%b\r\n" % (len(message["body"]), message["body"]))
        else:
            protocol.transport.write(b"0\r\n\r\n")
            self._complete()

    def _head(self, status: int, headers: Headers, *more: tuple[bytes, bytes]) -> bytes:
        """Status line and headers."""
        lines = [*self._protocol.server_state.default_headers, *headers, *more]
        if not self.keep_alive:
            lines.append((b"connection", b"close"))
        return b"".join([STATUS_LINE[status], *(b"%b: %b\r\n" % line for line in lines), b"\r\n"])

    def _complete(self) -> None:
        self.response_complete = True
        if not self.keep_alive:
            self._protocol.transport.close()
        self._protocol.on_response_complete()


class FastPathProtocol(HttpToolsProtocol):
    """Use a subclass with `responder` set: see `fast_path_protocol`.

    A connection whose client reads nothing for `max_stall_s` while responses pile up is closed: nothing else would end
    it.
    """

    responder: Responder
    max_stall_s = 30.0
    _stall_timer: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        """The client reads more slowly than we write."""
        super().pause_writing()
        self._stall_timer = self.loop.call_later(self.max_stall_s, self.transport.abort)

    def resume_writing(self) -> None:
        """The client has caught up."""
        super().resume_writing()
        self._cancel_stall_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Drop whatever was being answered."""
        super().connection_lost(exc)
        self._cancel_stall_timer()

    def _cancel_stall_timer(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def on_headers_complete(self) -> None:
        """Take the fast path if the request has the plain form."""
        match = self._plain_match()
        if match is None:
            super().on_headers_complete()
        else:
            self.cycle = FastPathCycle(self, match, self.headers)  # type: ignore[assignment]

    def _plain_match(self) -> Match | None:
        """The route of a POST whose length is declared and allowed, on a connection that has nothing else to do."""
        parser = self.parser
        is_plain = (
            parser.get_method() == b"POST"
            and parser.get_http_version() == "1.1"
            and parser.should_keep_alive()
            and not parser.should_upgrade()
            and not self.expect_100_continue
            and self.limit_concurrency is None
            and getattr(self.cycle, "response_complete", True)  # there is no cycle before the first request
            and not self.flow.write_paused  # ASGI waits until earlier responses are read
            and _declared_bytes(self.headers) <= self.responder.max_body_bytes
        )
        return self.responder.find_post(self.url) if is_plain else None


def fast_path_protocol(application: Responder) -> type[HttpToolsProtocol]:
    """The protocol for this application, to be given to uvicorn."""
    return type("BoundFastPathProtocol", (FastPathProtocol,), {"responder": application})


#: What the fast path reads, replaces or calls, and with how many arguments besides `self`.
_METHODS = {
    "on_headers_complete": 0,
    "on_response_complete": 0,
    "pause_writing": 0,
    "resume_writing": 0,
    "connection_lost": 1,
}
_FLOW_MEMBERS = ("drain", "resume_reading")
_PARSER_MEMBERS = ("get_http_version", "get_method", "should_keep_alive", "should_upgrade")
_INSTANCE_NAMES = (
    "client", "cycle", "expect_100_continue", "flow", "headers", "limit_concurrency", "loop", "parser", "server_state",
    "tasks", "transport", "url",
)  # fmt: skip
#: What uvicorn's protocol does to the cycle of a request.
_CYCLE_NAMES = ("body", "disconnected", "keep_alive", "message_event", "more_body", "response_complete")


def missing_pieces() -> list[str]:
    """The pieces of uvicorn and httptools that the fast path needs and does not find, by name."""
    protocol, names = httptools_impl.HttpToolsProtocol, _names_in(httptools_impl.HttpToolsProtocol)
    missing = [f"HttpToolsProtocol.{name}" for name, count in _METHODS.items() if not _takes(protocol, name, count)]
    missing += [f"HttpToolsProtocol.{name}" for name in (*_INSTANCE_NAMES, *_CYCLE_NAMES) if name not in names]
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


def _declared_bytes(headers: list[tuple[bytes, bytes]]) -> float:
    """The length of the body; infinite if it is not declared."""
    declared: Any = next((value for name, value in headers if name == b"content-length"), b"")
    return int(declared[:20]) if declared.isdigit() else float("inf")
