"""uvicorn's HTTP/1.1 protocol with a short way for small whole requests.

ASGI asks for a task, two queues of messages and several calls through layers for each request; that is right for
streams and uploads, and as expensive as a small model. A plain POST to a path that the application answers whole goes
straight to `respond` instead: one task, one write. Everything else, and every unusual form of the same request, goes
uvicorn's own way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Protocol

from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol


class Responder(Protocol):
    """What answers whole requests: the application."""

    @property
    def whole_paths(self) -> frozenset[bytes]: ...
    @property
    def max_body_bytes(self) -> int: ...
    def refusal(self, headers: Iterable[tuple[bytes, bytes]]) -> Response | None: ...
    async def respond(self, path: str, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> Response: ...
    def note_left(self, path: str, headers: Iterable[tuple[bytes, bytes]]) -> None: ...


class FastPathCycle:
    """One request and its answer, in the shape in which the protocol keeps track of them.

    The protocol adds to `body`, clears `more_body`, sets `disconnected`, and calls `message_event.set()` after each.
    """

    def __init__(self, protocol: FastPathProtocol, path: str, headers: list[tuple[bytes, bytes]]) -> None:
        self.body = b""
        self.more_body = True
        self.disconnected = False
        self.response_complete = False
        self.keep_alive = True
        self._protocol = protocol
        self._path = path
        self._headers = headers
        self._task: asyncio.Task[None] | None = None

    @property
    def message_event(self) -> FastPathCycle:
        """What the protocol sets. No attribute: an object that holds itself waits for the garbage collector."""
        return self

    def set(self) -> None:
        """Something has changed: more of the body is there, or the caller has left."""
        if self.disconnected:
            if self._task is None:
                self._protocol.responder.note_left(self._path, self._headers)
            else:
                self._task.cancel()
            return
        # The protocol stops reading when a body grows; its length is known to be allowed, and a leave must be heard.
        self._protocol.flow.resume_reading()
        if not self.more_body and self._task is None and not self.response_complete:
            self._begin()

    def _begin(self) -> None:
        """Start the work, or refuse it before anything is done for it: under overload that must cost little."""
        refusal = self._protocol.responder.refusal(self._headers)
        if refusal is not None:
            self._write(refusal)
            return
        self._task = self._protocol.loop.create_task(self._answer())
        self._protocol.tasks.add(self._task)
        self._task.add_done_callback(self._protocol.tasks.discard)

    async def _answer(self) -> None:
        response = await self._protocol.responder.respond(self._path, self._headers, self.body)
        if not self.disconnected:
            self._write(response)

    def _write(self, response: Response) -> None:
        protocol = self._protocol
        headers = [*protocol.server_state.default_headers, *response.raw_headers]
        if not self.keep_alive:
            headers.append((b"connection", b"close"))
        head = [STATUS_LINE[response.status_code], *(b"%b: %b\r\n" % header for header in headers), b"\r\n"]
        protocol.transport.write(b"".join([*head, bytes(response.body)]))
        self.response_complete = True
        if not self.keep_alive:
            protocol.transport.close()
        protocol.on_response_complete()


class FastPathProtocol(HttpToolsProtocol):
    """Use a subclass with `responder` set: see `fast_path_protocol`.

    A connection whose reader takes nothing for `max_stall_s` while answers pile up is cut: nothing else would end it.
    """

    responder: Responder
    max_stall_s = 30.0
    _stall_timer: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        """The reader lags behind."""
        super().pause_writing()
        self._stall_timer = self.loop.call_later(self.max_stall_s, self.transport.abort)

    def resume_writing(self) -> None:
        """The reader has caught up."""
        super().resume_writing()
        self._forget_stall()

    def connection_lost(self, exc: Exception | None) -> None:
        """Whatever was being answered is dropped."""
        super().connection_lost(exc)
        self._forget_stall()

    def _forget_stall(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def on_headers_complete(self) -> None:
        """Take the request on the short way if it is of the plain form."""
        if self._is_plain():
            self.cycle = FastPathCycle(self, self.url.decode("ascii"), self.headers)  # type: ignore[assignment]
        else:
            super().on_headers_complete()

    def _is_plain(self) -> bool:
        """A POST to one of our paths, its length declared and allowed, on a connection that has nothing else to do."""
        parser = self.parser
        return (
            self.url in self.responder.whole_paths
            and parser.get_method() == b"POST"
            and parser.get_http_version() == "1.1"
            and parser.should_keep_alive()
            and not parser.should_upgrade()
            and not self.expect_100_continue
            and self.limit_concurrency is None
            and getattr(self.cycle, "response_complete", True)  # there is no cycle before the first request
            and not self.flow.write_paused  # the long way waits until earlier answers are read
            and _declared_bytes(self.headers) <= self.responder.max_body_bytes
        )


def fast_path_protocol(application: Responder) -> type[HttpToolsProtocol]:
    """The protocol for this application, to be given to uvicorn."""
    return type("BoundDirectProtocol", (FastPathProtocol,), {"responder": application})


def _declared_bytes(headers: list[tuple[bytes, bytes]]) -> float:
    """The length of the body; infinite if it is not declared."""
    declared: Any = next((value for name, value in headers if name == b"content-length"), b"")
    return int(declared[:20]) if declared.isdigit() else float("inf")
