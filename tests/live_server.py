"""A service on a real socket, and an HTTP client that lets a test write each TCP segment itself."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import pytest
import uvicorn
from starlette.responses import Response

from service.api.protocol import Match
from service.api.request_scope import Headers, StreamWriter
from service.inference.scheduling.batching.run_cost import RunCost
from service.server.app import Application, create_app
from service.server.edge.tls import Tls
from service.server.edge.tls_gate import TlsGate
from service.server.fast_path import FastPathProtocol, fast_path_protocol
from service.server.grpc_port import GrpcPort
from service.server.run import GracefulServer, open_socket
from service.settings import Settings
from tests.conftest import PATIENCE_S, wait_until

_SEGMENT_PAUSE_S = 0.001


class LiveServer:
    """A running server. `stop` makes it stop gracefully before the test does.

    `short_paths` lists the paths of requests that took the fast path, without ASGI.
    """

    def __init__(self, app: Application, protocol: type[FastPathProtocol], port: int, grpc_port: int = 0) -> None:
        """`grpc_port` is 0 where gRPC is not spoken."""
        self.app = app
        self.grpc_port = grpc_port
        self.protocol = protocol
        self.port = port
        self.short_paths: list[str] = []
        self.stop: Callable[[], None] = _nothing
        self._respond = app.respond
        app.respond = self._noting  # type: ignore[method-assign]

    async def _noting(
        self, match: Match, headers: Headers, body: bytes, write_stream: StreamWriter, client: str = ""
    ) -> Response | None:
        self.short_paths.append(match.route.path)
        return await self._respond(match, headers, body, write_stream, client)

    def connect(self, receive_bytes: int = 0) -> Connection:
        """Open a connection; `receive_bytes` sets the size of its receive buffer."""
        return Connection(self.port, receive_bytes)

    def metric(self, name: str, **labels: str) -> float:
        """The value of a series, or 0 if it does not exist yet."""
        return self.app.state.metrics.registry.get_sample_value(name, labels) or 0.0

    def engine(self, model: str) -> Any:
        (entry,) = self.app.state.registry.versions(model)
        return entry.engine


@contextmanager
def live_server(models_dir: Path, *, send_bytes: int = 0, http: Any = None, **settings: object) -> Iterator[LiveServer]:
    """Run a server in a thread until it is ready, and shut it down gracefully at the end.

    `send_bytes` sets the size of each connection's send buffer; `http` replaces the fast path by a protocol of uvicorn.
    """
    options = {"device": "cpu", "lanes": 2, "drain_timeout_s": 5.0, **settings}
    all_settings = Settings(models_dir=models_dir, **options)  # type: ignore[arg-type]
    app, tls = create_app(all_settings), Tls.of(all_settings)
    listening = open_socket("127.0.0.1", 0)
    if send_bytes:  # accepted connections inherit it
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_bytes)
    protocol: Any = http or fast_path_protocol(app)
    outer = protocol if tls is None else partial(TlsGate, tls.context, app.open_connections, protocol)
    config = uvicorn.Config(
        app, http=outer, log_config=None, access_log=False, proxy_headers=False, timeout_graceful_shutdown=5
    )
    grpc_port = None if all_settings.grpc_port is None else GrpcPort(all_settings, app, tls)
    server = uvicorn.Server(config) if grpc_port is None else GracefulServer(config, _nothing, 0, grpc_port=grpc_port)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="server")
    thread.start()
    try:
        wait_until(lambda: server.started and app.state.loading.done())
        started = LiveServer(app, protocol, listening.getsockname()[1], 0 if grpc_port is None else grpc_port.port)
        started.stop = partial(setattr, server, "should_exit", True)
        yield started
    finally:
        server.should_exit = True
        thread.join(PATIENCE_S)
        listening.close()
    assert not thread.is_alive(), "the server did not stop"


def _nothing() -> None:
    """A stop that is not announced."""


@contextmanager
def runs_in_lanes() -> Iterator[None]:
    """No run is short enough for the event loop, so that one that a test holds up holds up nothing else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunCost, "is_short", lambda *_: False)
        yield


@contextmanager
def held_runs(server: LiveServer, model: str) -> Iterator[threading.Event]:
    """No run of a model ends while this context lasts. The event says that one has begun."""
    runner = server.engine(model).opened.runner
    begun, go_on = threading.Event(), threading.Event()
    original = runner.run

    def held(*arguments: Any) -> Any:
        begun.set()
        assert go_on.wait(PATIENCE_S)
        return original(*arguments)

    runner.run = held
    with runs_in_lanes():
        try:
            yield begun
        finally:
            go_on.set()
            runner.run = original


class Answer(NamedTuple):
    """One HTTP response. Header names are in lower case."""

    version: str
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Connection:
    """A TCP connection with a minimal HTTP client."""

    def __init__(self, port: int, receive_bytes: int = 0) -> None:
        self.socket = socket.socket()
        if receive_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.settimeout(PATIENCE_S)
        try:
            self.socket.connect(("127.0.0.1", port))
        except OSError:
            self.socket.close()
            raise
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self.socket.makefile("rb")

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()
        self.socket.close()

    def send(self, *segments: bytes) -> None:
        """Write each segment separately."""
        for number, segment in enumerate(segments):
            if number:
                time.sleep(_SEGMENT_PAUSE_S)
            self.socket.sendall(segment)

    def answer(self, has_body: bool = True) -> Answer:
        """Read one response; `has_body` is false for a response to HEAD."""
        version, status, *_ = self._file.readline().decode().split(" ")
        headers = dict(iter(self._header, ("", "")))
        body = self._body(headers) if has_body and int(status) >= 200 else b""
        return Answer(version, int(status), headers, body)

    def ask(self, *segments: bytes) -> Answer:
        self.send(*segments)
        return self.answer()

    def rest(self) -> bytes:
        """All that arrives until the server closes the connection."""
        return self._file.read()

    def is_closed(self) -> bool:
        """Whether the server has closed the connection and no data is left."""
        try:
            return self._file.read(1) == b""
        except ConnectionResetError:
            return True

    def read_chunk(self) -> bytes:
        """The next chunk of a chunked body; empty at the end."""
        size = int(self._file.readline(), 16)
        return self._file.read(size + 2)[:size]

    def _header(self) -> tuple[str, str]:
        name, _, value = self._file.readline().decode("latin-1").rstrip("\r\n").partition(": ")
        return name.lower(), value

    def _body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding") == "chunked":
            return b"".join(iter(self.read_chunk, b""))
        return self._file.read(int(headers["content-length"]))


def request(method: str, target: str, body: bytes = b"", version: str = "1.1", **headers: str) -> bytes:
    """The bytes of a request; an argument such as `content_type="..."` becomes the header Content-Type."""
    lines = [f"{method} {target} HTTP/{version}", "Host: test"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def post(path: str, body: object, version: str = "1.1", **headers: str) -> bytes:
    """A POST request with a JSON body, or with `bytes` sent unchanged."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return request("POST", path, raw, version, content_type="application/json", content_length=str(len(raw)), **headers)
