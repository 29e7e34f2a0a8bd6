"""HTTP below both clients: the address, key and limits of a client, and one request with all its attempts."""

from __future__ import annotations

import asyncio
import math
import os
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import urlsplit

import httpx

from service.client.calls import Call
from service.client.errors import ClientError, ConnectionFailed, ForeignAnswer, InvalidAddress, TimedOut
from service.client.response import Received
from service.client.retries import Attempts, Deadline, Retries

T = TypeVar("T")

KEY_VARIABLE = "UNROLL_API_KEY"
TIMEOUT_HEADER = "X-Request-Timeout-Ms"
MAX_ANSWER_BYTES = 256 << 20
_LONGEST_CONNECT_S = 10.0
#: How h11 says that the connection ended; everything else that it objects to is no HTTP.
_ENDED = ("Server disconnected", "peer closed connection")


def key_of(api_key: str | None) -> str | None:
    """The API key: the one given, or that of UNROLL_API_KEY; an empty one is none."""
    return (os.environ.get(KEY_VARIABLE, "") if api_key is None else api_key).strip() or None


def key_header(api_key: str | None = None) -> dict[str, str]:
    """The header with the API key, see `key_of`."""
    key = key_of(api_key)
    return {"Authorization": f"Bearer {key}"} if key else {}


@dataclass(frozen=True)
class Options:
    """What holds for all calls of a client. `timeout_s` is for a call with all its attempts; None is no limit."""

    base_url: str
    api_key: str | None = field(default=None, repr=False)
    timeout_s: float | None = 60.0
    retries: Retries = field(default_factory=Retries)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    max_answer_bytes: int = MAX_ANSWER_BYTES

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.base_url)
            is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
            httpx.URL(self.base_url)
        except (ValueError, httpx.InvalidURL) as error:
            raise InvalidAddress(f"{self.base_url}: {error}") from error
        if not is_address or parts.query or parts.fragment:
            raise InvalidAddress(
                f"{self.base_url}: a base URL is http:// or https:// with a host, such as http://a:8000"
            )
        if self.timeout_s is not None and not self.timeout_s > 0:
            raise ValueError("timeout is a number of seconds above 0, or None")
        if any(not (sign.isascii() and sign.isprintable()) for sign in self.key or ""):
            raise ValueError("api_key holds a character that no header can have")

    @property
    def url(self) -> str:
        """The base URL without a slash at its end."""
        return self.base_url.rstrip("/")

    @property
    def key(self) -> str | None:
        """The API key: the one given, or that of UNROLL_API_KEY; an empty one is none."""
        return key_of(self.api_key)

    @property
    def all_headers(self) -> dict[str, str]:
        """Those given, and the API key."""
        return {**self.headers, **key_header(self.api_key)}

    @property
    def verify(self) -> ssl.SSLContext | bool:
        """How the certificate of the service is verified. The authorities are not read where there is none."""
        return self.tls or self.url.startswith("https")

    def attempts(self, timeout_s: float | None, retries: Retries | None = None) -> Attempts:
        """The attempts of a call within a timeout, in seconds."""
        return Attempts(retries or self.retries, Deadline(timeout_s))

    def timeout_of(self, attempts: Attempts) -> float | None:
        """Seconds for the next attempt: the rest of the call's time, at most the client's timeout."""
        seconds = min(attempts.deadline.remaining_s, self.timeout_s or math.inf)
        return None if math.isinf(seconds) else max(seconds, 0.001)


class HttpConnection:
    """Connections of a `Client`, kept open between calls. Threads may share it."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self._http = httpx.Client(headers=options.all_headers, verify=options.verify, timeout=None)

    def close(self) -> None:
        self._http.close()

    def send(self, call: Call[T], timeout_s: float | None, retries: Retries | None = None) -> T:
        """The answer, after as many attempts as it takes. Raises ClientError."""
        attempts = self.options.attempts(timeout_s, retries)
        while True:
            try:
                return call.read(self._attempt(call, self.options.timeout_of(attempts)))
            except ClientError as error:
                attempts.wait(error, call.repeatable)

    @contextmanager
    def stream(self, call: Call[T], timeout_s: float | None) -> Iterator[httpx.Response]:
        """An answer whose body is still to be read. `timeout_s` is for each part. Raises ClientError."""
        request = _request(self._http, self.options, call, timeout_s, is_stream=True)
        with _translated(self.options.url):
            response = self._http.send(request, stream=True)
            try:
                yield response
            finally:
                response.close()

    def _attempt(self, call: Call[T], timeout_s: float | None) -> Received:
        deadline = Deadline(timeout_s)
        request = _request(self._http, self.options, call, timeout_s)
        with _translated(self.options.url):
            response = self._http.send(request, stream=True)
            try:
                return self.whole(response, deadline)
            finally:
                response.close()

    def whole(self, response: httpx.Response, deadline: Deadline) -> Received:
        """Read an answer to its end. Raises ForeignAnswer above the limit, TimedOut after the deadline."""
        gathered = _Gathered(self.options, response, deadline)
        for part in response.iter_bytes():
            gathered.add(part)
        return gathered.received


class AsyncHttpConnection:
    """Connections of an `AsyncClient`, kept open between calls, for one event loop."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self._http = httpx.AsyncClient(headers=options.all_headers, verify=options.verify, timeout=None)

    async def close(self) -> None:
        await self._http.aclose()

    async def send(self, call: Call[T], timeout_s: float | None, retries: Retries | None = None) -> T:
        """The answer, after as many attempts as it takes. Raises ClientError."""
        attempts = self.options.attempts(timeout_s, retries)
        while True:
            try:
                return call.read(await self._attempt(call, self.options.timeout_of(attempts)))
            except ClientError as error:
                await attempts.wait_async(error, call.repeatable)

    @asynccontextmanager
    async def stream(self, call: Call[T], timeout_s: float | None) -> AsyncIterator[httpx.Response]:
        """An answer whose body is still to be read. `timeout_s` is for each part. Raises ClientError."""
        request = _request(self._http, self.options, call, timeout_s, is_stream=True)
        with _translated(self.options.url):
            response = await self._http.send(request, stream=True)
            try:
                yield response
            finally:
                await response.aclose()

    async def _attempt(self, call: Call[T], timeout_s: float | None) -> Received:
        request = _request(self._http, self.options, call, timeout_s)
        try:
            async with asyncio.timeout(timeout_s):
                with _translated(self.options.url):
                    response = await self._http.send(request, stream=True)
                    try:
                        return await self.whole(response, Deadline(timeout_s))
                    finally:
                        await response.aclose()
        except TimeoutError as error:
            raise TimedOut(f"{self.options.url}: no answer within the timeout") from error

    async def whole(self, response: httpx.Response, deadline: Deadline) -> Received:
        """Read an answer to its end. Raises ForeignAnswer above the limit, TimedOut after the deadline."""
        gathered = _Gathered(self.options, response, deadline)
        async for part in response.aiter_bytes():
            gathered.add(part)
        return gathered.received


class _Gathered:
    """The parts of a body, within the limits on its size and time."""

    def __init__(self, options: Options, response: httpx.Response, deadline: Deadline) -> None:
        self._options, self._response, self._deadline = options, response, deadline
        self._content = bytearray()

    def add(self, part: bytes) -> None:
        self._content += part
        if len(self._content) > self._options.max_answer_bytes:
            limit = f"{self._options.max_answer_bytes:,} bytes (max_answer_bytes)"
            raise ForeignAnswer(f"{self._response.url} answered more than {limit}", status=self._response.status_code)
        if not self._deadline.remaining_s:
            raise TimedOut(f"{self._options.url}: the answer was not complete within the timeout")

    @property
    def received(self) -> Received:
        response = self._response
        return Received(str(response.url), response.status_code, response.headers, bytes(self._content))


def _request(
    http: httpx.Client | httpx.AsyncClient,
    options: Options,
    call: Call[T],
    timeout_s: float | None,
    is_stream: bool = False,
) -> httpx.Request:
    """The request. Its answer is given up by the service when it is by the client; a stream may take longer."""
    content = call.content
    headers = {} if content is None else {"Content-Type": "application/json"}
    if timeout_s is not None and not is_stream:
        headers[TIMEOUT_HEADER] = str(max(1, min(round(timeout_s * 1000), 10**9)))
    limits = httpx.Timeout(timeout_s, connect=min(timeout_s or math.inf, _LONGEST_CONNECT_S))
    url, query = options.url + call.path, call.query or None
    return http.build_request(call.method, url, content=content, headers=headers, params=query, timeout=limits)


@contextmanager
def _translated(url: str) -> Iterator[None]:
    """Raise the exceptions of httpx as those of the client."""
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
        raise ConnectionFailed(f"{url}: {_sentence(error)}", was_sent=False) from error
    except httpx.TimeoutException as error:
        raise TimedOut(f"{url}: no answer within the timeout") from error
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise InvalidAddress(f"{url}: {error}") from error
    except httpx.RemoteProtocolError as error:
        if str(error).startswith(_ENDED):
            raise ConnectionFailed(f"{url}: {_sentence(error)}", was_sent=True) from error
        raise ForeignAnswer(f"{url} did not answer in HTTP ({error}); is it an Unroll server?") from error
    except httpx.TransportError as error:
        raise ConnectionFailed(f"{url}: {_sentence(error)}", was_sent=True) from error
    except httpx.HTTPError as error:
        raise ForeignAnswer(f"{url}: {_sentence(error)}; is it an Unroll server?") from error


def _sentence(error: Exception) -> str:
    return str(error) or type(error).__name__
