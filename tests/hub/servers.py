"""Servers of this machine that keep bundles: a web folder that can misbehave, S3 by moto, an OCI registry."""

from __future__ import annotations

import base64
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from tests.conftest import PATIENCE_S
from tests.ports import free_port
from tests.programs import find_program


@dataclass(frozen=True)
class Answer:
    """What a web folder answers for one path instead of its file. `length` is what it announces; "" for nothing."""

    status: int = 200
    body: bytes = b""
    length: int | str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    stalls: bool = False


class WebServer:
    """A folder behind HTTP that takes files by PUT.

    Attributes:
        posts: by path, what answers a POST with this body; 404 elsewhere.
        post_headers: headers of those answers.
        put_status: what answers a PUT.
        answers: by path, the answers to the next requests; the last one is kept.
        requests: method, path and Authorization of each request.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.answers: dict[str, list[Answer]] = {}
        self.requests: list[tuple[str, str, str]] = []
        self.put_status = 201
        self.posts: dict[str, Callable[[bytes], bytes]] = {}
        self.post_headers: dict[str, str] = {}
        self.released = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.web = self
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def answer_of(self, path: str) -> Answer:
        queue = self.answers.get(path)
        if queue:
            return queue.pop(0) if len(queue) > 1 else queue[0]
        file = self.folder / path.lstrip("/")
        return Answer(body=file.read_bytes()) if file.is_file() else Answer(404)

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    web: WebServer


class _Handler(BaseHTTPRequestHandler):
    @property
    def web(self) -> WebServer:
        assert isinstance(self.server, _Server)
        return self.server.web

    def do_GET(self) -> None:
        self._note()
        answer = self.web.answer_of(self.path)
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        length = len(answer.body) if answer.length is None else answer.length
        if length != "":
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(answer.body)
        self.wfile.flush()
        if answer.stalls:
            self.web.released.wait(PATIENCE_S)
        self.close_connection = True

    def do_HEAD(self) -> None:
        self._note()
        self.send_response(404)
        self.end_headers()

    def do_PUT(self) -> None:
        self._note()
        content = self._body()
        if self.web.put_status != 201:
            self.send_error(self.web.put_status)
            return
        file = self.web.folder / self.path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        self._note()
        body = self._body()
        answer = self.web.posts.get(self.path.partition("?")[0])
        if answer is None:
            self.send_error(404)
            return
        content = answer(body)
        self.send_response(200)
        for name, value in self.web.post_headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers["Content-Length"]))
        pieces = []
        while size := int(self.rfile.readline(), 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def _note(self) -> None:
        self.web.requests.append((self.command, self.path, self.headers.get("Authorization", "")))

    def log_message(self, *_: Any) -> None:
        """Standard error stays clean."""


@contextmanager
def web_server(folder: Path) -> Iterator[WebServer]:
    server = WebServer(folder)
    try:
        yield server
    finally:
        server.close()


@contextmanager
def s3_server() -> Iterator[str]:
    """An S3 server with a bucket `models`; gives its URL."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    keys = {"aws_access_key_id": "name", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=url, **keys)
    try:
        client.create_bucket(Bucket="models")
        yield url
    finally:
        client.close()
        server.stop()


@contextmanager
def oci_registry(folder: Path, htpasswd: str = "") -> Iterator[str]:
    """Debian's docker-registry, which needs a login if there are passwords; gives its host and port."""
    program, port = find_program("docker-registry"), free_port()
    config = folder / "registry.yml"
    auth = ""
    if htpasswd:
        (folder / "htpasswd").write_text(htpasswd, encoding="ascii")
        auth = f"auth: {{htpasswd: {{realm: registry, path: {folder / 'htpasswd'}}}}}\n"
    config.write_text(
        "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder / 'registry'}}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n" + auth,
        encoding="ascii",
    )
    with (folder / "registry.log").open("wb") as log:
        process = subprocess.Popen([program, "serve", str(config)], stdout=log, stderr=subprocess.STDOUT)
        try:
            _wait_for(f"http://127.0.0.1:{port}/v2/", process)
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    ends_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < ends_s and process.poll() is None:
        try:
            if httpx.get(url).status_code in (200, 401):
                return
        except httpx.TransportError:
            time.sleep(0.02)
    raise AssertionError(f"{url} does not answer")


def basic(name: str, password: str) -> str:
    """Name and password as docker keeps them."""
    return base64.b64encode(f"{name}:{password}".encode()).decode()
