"""Opening the WebSocket `/stream`: a refusal is an answer of HTTP, and raised as everywhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import websockets.asyncio.client
import websockets.sync.client
from websockets.exceptions import InvalidHandshake, InvalidStatus, InvalidURI
from websockets.http11 import Response

from service.client.connection import Options
from service.client.errors import ClientError, ConnectionFailed, ForeignAnswer, InvalidAddress
from service.client.response import Received
from service.client.streaming.conversation import stream_url
from service.client.streaming.token_events import refusal


class _ConnectionHere(websockets.sync.client.ClientConnection):
    """Follows no redirect: the API key is for the host that was given."""

    def handshake(self, *arguments: Any, **named: Any) -> None:
        try:
            super().handshake(*arguments, **named)
        except InvalidStatus as error:
            raise _Refused(error.response) from error  # of a type that the library does not follow


class _ConnectHere(websockets.asyncio.client.connect):
    """The same for asyncio."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


def connect(options: Options, timeout_s: float | None, resources: ExitStack) -> websockets.sync.client.ClientConnection:
    """An open connection, which `resources` close. Raises ClientError."""
    with _translated(options):
        opened = websockets.sync.client.connect(
            stream_url(options.url), create_connection=_ConnectionHere, **_arguments(options, timeout_s)
        )
        entered: websockets.sync.client.ClientConnection = resources.enter_context(opened)
        return entered


async def connect_async(options: Options, timeout_s: float | None) -> websockets.asyncio.client.ClientConnection:
    """An open connection. Raises ClientError."""
    with _translated(options):
        opened: websockets.asyncio.client.ClientConnection = await _ConnectHere(
            stream_url(options.url), **_arguments(options, timeout_s)
        )
        return opened


def _arguments(options: Options, timeout_s: float | None) -> dict[str, Any]:
    return {
        "additional_headers": options.all_headers,
        "open_timeout": timeout_s,
        "max_size": options.max_answer_bytes,
        "compression": None,
        "proxy": None if options.is_loopback else True,
        **({"ssl": options.tls} if options.tls is not None else {}),
    }


def _refusal(url: str, answer: Response) -> ClientError:
    headers = {name.lower(): value for name, value in answer.headers.raw_items()}
    return refusal(Received(stream_url(url), answer.status_code, headers, bytes(answer.body or b"")))


class _Refused(Exception):
    """The service answered the handshake with another status than 101."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status_code)
        self.response = response


@contextmanager
def _translated(options: Options) -> Iterator[None]:
    url = options.url
    try:
        yield
    except InvalidStatus as error:
        raise _refusal(url, error.response) from error
    except _Refused as refused:
        raise _refusal(url, refused.response) from refused
    except InvalidURI as error:
        raise InvalidAddress(f"{url}: {error}") from error
    except InvalidHandshake as error:
        raise ForeignAnswer(f"{url} did not answer as a WebSocket ({error}); is it an Unroll server?") from error
    except (OSError, EOFError) as error:  # TimeoutError among them
        raise ConnectionFailed(f"{url}: {str(error) or type(error).__name__}", was_sent=False) from error
