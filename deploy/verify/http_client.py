"""HTTP client based on the standard library, with one connection per request."""

from __future__ import annotations

import http.client
import json
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

_TIMEOUT_S = 30.0


class Cut(ConnectionError):
    """The response was cut off."""


@dataclass(frozen=True)
class Answer:
    """Complete response."""

    status: int
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON; None if it is not."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    def __str__(self) -> str:
        return f"HTTP {self.status}: {self.body[:300].decode('utf-8', 'replace')}"


class Refused(OSError):
    """The response was an error instead of a stream."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(str(answer))
        self.status = answer.status


class HttpClient:
    """Client of one address. All methods raise OSError without a response, and Cut, an OSError, if it is cut off."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port

    def get(
        self,
        path: str,
        query: Mapping[str, str] | None = None,
        timeout_s: float = _TIMEOUT_S,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """`query` becomes what follows the question mark."""
        target = f"{path}?{urllib.parse.urlencode(query)}" if query else path
        return self._ask("GET", target, None, headers or {}, timeout_s)

    def post(self, path: str, body: object, headers: Mapping[str, str] | None = None) -> Answer:
        """A JSON body, or bytes as they are."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self._ask("POST", path, content, {"Content-Type": "application/json", **(headers or {})}, _TIMEOUT_S)

    def events(self, path: str, body: object, headers: Mapping[str, str] | None = None) -> Iterator[Any]:
        """Server-sent events as they arrive; the connection is closed when iteration stops."""
        connection = http.client.HTTPConnection(self._host, self._port, timeout=_TIMEOUT_S)
        with closing(connection):
            headers = {"Content-Type": "application/json", **(headers or {})}
            connection.request("POST", path, json.dumps(body).encode(), headers)
            response = _response(connection)
            if response.status != 200:
                raise Refused(Answer(response.status, response.read()))
            for line in _lines(response):
                if line.startswith(b"data:"):
                    yield json.loads(line.removeprefix(b"data:"))

    def _ask(
        self, method: str, target: str, content: bytes | None, headers: Mapping[str, str], limit_s: float
    ) -> Answer:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=limit_s)
        with closing(connection):
            connection.request(method, target, content, dict(headers))
            response = _response(connection)
            try:
                return Answer(response.status, response.read())
            except (http.client.HTTPException, OSError) as error:
                raise Cut(f"the answer to {method} {target} broke off: {error!r}") from error


def _response(connection: http.client.HTTPConnection) -> http.client.HTTPResponse:
    try:
        return connection.getresponse()
    except http.client.HTTPException as error:  # such as a connection that was closed without a word
        raise ConnectionResetError(repr(error)) from error


def _lines(response: http.client.HTTPResponse) -> Iterator[bytes]:
    try:
        yield from response
    except (http.client.HTTPException, OSError) as error:
        raise Cut(f"a stream broke off: {error!r}") from error
