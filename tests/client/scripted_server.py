"""A server that answers each connection as a test says: broken, slow, foreign."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

Answer = bytes | Callable[[socket.socket], None]
_RESET = struct.pack("ii", 1, 0)


def http(status: int, body: bytes | Any, version: str = "1.1", **headers: str) -> bytes:
    """A whole answer. Anything but bytes is sent as JSON; `content_type="..."` becomes the header Content-Type."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"content_type": "application/json", "content_length": str(len(content)), "connection": "close", **headers}
    lines = [f"HTTP/{version} {status} Said"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in given.items() if value]
    return "\r\n".join([*lines, "", ""]).encode() + content


def events(*frames: str, end: bytes = b"") -> bytes:
    """The head and some events of a stream, which then ends."""
    body = "".join(f"data:{frame}\n\n" for frame in frames).encode() + end
    return http(200, body, content_type="text/event-stream", content_length="")


def reset(connection: socket.socket) -> None:
    """Answer with a TCP reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


def silent(connection: socket.socket) -> None:
    """Never answer; ends when the client leaves."""
    connection.recv(1)


class ScriptedServer:
    """Answers connection number i with answer i, those after with the last. `requests` has what was sent."""

    def __init__(self, answers: Sequence[Answer]) -> None:
        self.requests: list[bytes] = []
        self.left = threading.Event()
        self._answers = answers
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, name="scripted")
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    @property
    def bodies(self) -> list[Any]:
        return [json.loads(request.partition(b"\r\n\r\n")[2]) for request in self.requests]

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection:
                try:
                    self._answer(connection)
                except OSError:
                    self.left.set()

    def _answer(self, connection: socket.socket) -> None:
        self.requests.append(_request_of(connection))
        answer = self._answers[min(len(self.requests), len(self._answers)) - 1]
        if callable(answer):
            answer(connection)
        else:
            connection.sendall(answer)


@contextmanager
def scripted(*answers: Answer) -> Iterator[ScriptedServer]:
    """A server with these answers, as long as the context lasts."""
    server = ScriptedServer(answers)
    try:
        yield server
    finally:
        server.close()


def _request_of(connection: socket.socket) -> bytes:
    with connection.makefile("rb") as file:
        head = b"".join(iter(file.readline, b"\r\n"))
        length = next((line.split(b":")[1] for line in head.lower().splitlines() if b"content-length:" in line), b"0")
        return head + b"\r\n" + file.read(int(length))
