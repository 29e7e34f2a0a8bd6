"""One caller of a soak: awaits answers on a keep-alive connection, reads the beginning of a stream, or leaves early."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from service.cli.bench.load.address import Address
from service.cli.bench.load.connection import Connection, Reply, connect
from service.cli.bench.load.tally import OK
from tests.load.soak.callers.findings import Findings, Sort
from tests.load.soak.callers.known_answers import KnownAnswers

#: Far longer than the deadline that the service gives a request.
_PATIENCE_S = 60.0
#: A connection that was idle for longer may be closed by the server at any moment.
_MAX_IDLE_S = 1.0
_SERVER_ERROR = 500
EVENT = b"data:"


class Unanswered(Exception):
    """The fault is counted; the caller goes on with something else."""


class Caller:
    """Asks, and counts what it finds. `kind` is what it does at the moment."""

    def __init__(self, port: int, known: KnownAnswers, findings: Findings, seed: int) -> None:
        self.port = port
        self.known = known
        self.findings = findings
        self.rng = random.Random(seed)
        self.kind = ""
        self._connection: Connection | None = None
        self._answer: asyncio.Future[Reply] | None = None
        self._last_s = 0.0

    async def ask(self, path: str, body: Any, headers: Mapping[str, str] | None = None) -> Any:
        """The JSON body of a successful answer. Raises Unanswered."""
        return self.json_of(await self.reply(http_request("POST", path, encoded(body), headers)), OK)

    async def reply(self, payload: bytes) -> Reply:
        """The answer to one request, whatever its status. Raises Unanswered."""
        self.findings.requests[self.kind] += 1
        self._answer = asyncio.get_running_loop().create_future()
        try:
            connection = await self._connected()
            connection.ask(payload, 0, time.perf_counter())
            return await asyncio.wait_for(self._answer, _PATIENCE_S)
        except OSError as error:  # TimeoutError is one too
            self.close()
            self.findings.fault("no answer", self.kind, str(error) or f"none within {_PATIENCE_S:g} s")
            raise Unanswered from error
        finally:
            self._last_s = time.monotonic()

    def json_of(self, reply: Reply, status: int) -> Any:
        """The JSON body of an answer that must have this status. Raises Unanswered."""
        if reply.status != status:
            sort: Sort = "server error" if reply.status >= _SERVER_ERROR else "unexpected status"
            body = reply.body.decode("utf-8", "replace")
            self.findings.fault(sort, self.kind, f"{reply.status} instead of {status}: {body}")
            raise Unanswered
        try:
            return json.loads(reply.body)
        except ValueError as error:
            self.findings.fault("wrong answer", self.kind, f"the body is not JSON: {error}")
            raise Unanswered from error

    def expect(self, faults: Sequence[str]) -> None:
        """Count a wrong answer unless there are no faults."""
        if faults:
            self.findings.fault("wrong answer", self.kind, "; ".join(faults[:3]))

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    @asynccontextmanager
    async def leaving(self, payload: bytes) -> Any:
        """A connection of its own on which a request was sent; it is closed at the end, answered or not."""
        self.findings.requests[self.kind] += 1
        try:
            reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", self.port), _PATIENCE_S)
        except OSError as error:
            self.findings.fault("no answer", self.kind, f"no connection: {error}")
            raise Unanswered from error
        try:
            writer.write(payload)
            yield reader
        finally:
            writer.close()

    async def _connected(self) -> Connection:
        if self._connection is not None and time.monotonic() - self._last_s > _MAX_IDLE_S:
            self.close()
        if self._connection is None:
            self._connection = await connect(Address("127.0.0.1", self.port), self._on_answer, self._on_lost)
        return self._connection

    def _on_answer(self, connection: Connection, reply: Reply) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(reply)

    def _on_lost(self, connection: Connection, what: str) -> None:
        if connection is self._connection:
            self._connection = None
            if self._answer is not None and not self._answer.done():
                self._answer.set_exception(OSError(what))


def encoded(body: Any) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def http_request(method: str, path: str, content: bytes = b"", headers: Mapping[str, str] | None = None) -> bytes:
    """The bytes of a request; `headers` replaces or adds."""
    fields = {"Host": "127.0.0.1", "Content-Type": "application/json", "Content-Length": str(len(content))}
    lines = [f"{name}: {value}" for name, value in {**fields, **(headers or {})}.items()]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode("latin-1") + content


def events_of(body: bytes) -> list[Any]:
    """The events of a stream that was read whole."""
    return [json.loads(line.removeprefix(EVENT)) for line in body.split(b"\n\n") if line.startswith(EVENT)]
