"""HTTP below both clients: the address, key and limits of a client, and one request with all its attempts."""

from __future__ import annotations

import asyncio
import base64
import math
import os
import re
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit, urlunsplit

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
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
#: How h11 says that the connection ended; everything else that it objects to is no HTTP.
_ENDED = ("Server disconnected", "peer closed connection")


def key_of(api_key: str | None) -> str | None:
    """The API key: the one given, or that of UNROLL_API_KEY; an empty one is none."""
    if api_key is not None and not isinstance(api_key, str):
        raise TypeError(f"api_key is text, and no {type(api_key).__name__}")
    return (os.environ.get(KEY_VARIABLE, "") if api_key is None else api_key).strip() or None


def key_header(api_key: str | None = None) -> dict[str, str]:
    """The header with the API key, see `key_of`."""
    key = key_of(api_key)
    return {"Authorization": f"Bearer {key}"} if key else {}


def _check_address(base_url: str) -> None:
    """Raises InvalidAddress, with what was probably meant, and without a password."""
    if not isinstance(base_url, str):  # of a caller who checks no types
        raise InvalidAddress(f"a base URL is text, such as http://127.0.0.1:8000, and no {type(base_url).__name__}")
    address = base_url.strip()
    shown = re.sub("//.*@", "//", address)
    try:
        parts = urlsplit(address)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        httpx.URL(address)
    except (ValueError, httpx.InvalidURL) as error:
        raise InvalidAddress(f"{shown}: {error}") from error
    if is_address and not (parts.query or parts.fragment or any(map(str.isspace, address))):
        return
    rest = re.sub("^wss?://", "", shown, flags=re.IGNORECASE)
    meant = f"http://{rest}" if rest and "/" not in rest else "http://127.0.0.1:8000"
    raise InvalidAddress(f"{shown or 'nothing'}: a base URL is http:// or https:// with a host, such as {meant}")


def _is_above_zero(value: Any) -> bool:
    return isinstance(value, int | float) and value > 0


def _is_header_text(text: Any) -> bool:
    return isinstance(text, str) and text.isascii() and (text.isprintable() or not text)


def _basic_header(base_url: str) -> dict[str, str]:
    """The header for user and password in a URL, for a proxy that asks for them."""
    parts = urlsplit(base_url.strip())
    if parts.username is None:
        return {}
    told = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"Authorization": f"Basic {base64.b64encode(told.encode()).decode()}"}


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
        _check_address(self.base_url)
        if self.timeout_s is not None and not _is_above_zero(self.timeout_s):
            raise ValueError("timeout is a number of seconds above 0, or None")
        if self.tls is not None and not isinstance(self.tls, ssl.SSLContext):
            raise TypeError('tls is an ssl.SSLContext, such as ssl.create_default_context(cafile="ca.pem")')
        if not _is_header_text(self.key or ""):
            raise ValueError("api_key holds a character that no header can have")
        for name, value in self.headers.items():
            if not (_is_header_text(name) and _HEADER_NAME.fullmatch(name) and _is_header_text(value)):
                raise ValueError(f"headers: {name!r} is no header, or its value is not printable ASCII text")

    @property
    def url(self) -> str:
        """The base URL without user and password, and without a slash at its end."""
        parts = urlsplit(self.base_url.strip())
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])).rstrip("/")

    @property
    def is_loopback(self) -> bool:
        """Whether the service is on this machine, which no proxy of the environment can reach."""
        host = urlsplit(self.url).hostname or ""
        return host == "localhost" or host == "::1" or host.startswith("127.")

    @property
    def key(self) -> str | None:
        """The API key: the one given, or that of UNROLL_API_KEY; an empty one is none."""
        return key_of(self.api_key)

    @property
    def all_headers(self) -> dict[str, str]:
        """Those given, and the API key, or else user and password of the base URL."""
        return {**_basic_header(self.base_url), **self.headers, **key_header(self.api_key)}

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
        self._open()

    def _open(self) -> None:
        options = self.options
        direct = httpx.HTTPTransport(verify=options.verify) if options.is_loopback else None
        self._pid = os.getpid()
        self._http = httpx.Client(headers=options.all_headers, verify=options.verify, timeout=None, transport=direct)

    def _send(self, call: Call[T], timeout_s: float | None, is_stream: bool = False) -> httpx.Response:
        """An answer whose body is still to be read. A forked process has connections of its own: on those of its
        parent, each would read answers to the other."""
        if self._pid != os.getpid():
            self._open()
        return self._http.send(_request(self._http, self.options, call, timeout_s, is_stream), stream=True)

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
        with _translated(self.options.url):
            response = self._send(call, timeout_s, is_stream=True)
            try:
                yield response
            finally:
                response.close()

    def _attempt(self, call: Call[T], timeout_s: float | None) -> Received:
        deadline = Deadline(timeout_s)
        with _translated(self.options.url):
            response = self._send(call, timeout_s)
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
        direct = httpx.AsyncHTTPTransport(verify=options.verify) if options.is_loopback else None
        self._http = httpx.AsyncClient(
            headers=options.all_headers, verify=options.verify, timeout=None, transport=direct
        )
        self._loop: asyncio.AbstractEventLoop | None = None

    async def close(self) -> None:
        await self._http.aclose()

    def _check_loop(self) -> None:
        """Connections that another event loop opened would fail, now or later, with an error that tells nothing."""
        running = asyncio.get_running_loop()
        self._loop = self._loop or running
        if self._loop is not running:
            raise RuntimeError("an AsyncClient belongs to one event loop: make another for each asyncio.run")

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
        self._check_loop()
        request = _request(self._http, self.options, call, timeout_s, is_stream=True)
        with _translated(self.options.url):
            response = await self._http.send(request, stream=True)
            try:
                yield response
            finally:
                await response.aclose()

    async def _attempt(self, call: Call[T], timeout_s: float | None) -> Received:
        self._check_loop()
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
