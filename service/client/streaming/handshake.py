"""Opening the WebSocket `/stream`: a refusal is an answer of HTTP, and raised as everywhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import websockets.asyncio.client
import websockets.sync.client
from websockets.exceptions import InvalidHandshake, InvalidStatus, InvalidURI

from service.client.connection import Options
from service.client.errors import ConnectionFailed, ForeignAnswer, InvalidAddress
from service.client.response import Received
from service.client.streaming.conversation import stream_url
from service.client.streaming.token_events import refusal


class _ConnectHere(websockets.asyncio.client.connect):
    """Follows no redirect: the API key is for the host that was given."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


def connect(options: Options, timeout_s: float | None) -> websockets.sync.client.ClientConnection:
    """An open connection. Raises ClientError."""
    with _translated(options):
        opened: websockets.sync.client.ClientConnection = websockets.sync.client.connect(
            stream_url(options.url), **_arguments(options, timeout_s)
        )
        return opened


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
        **({"ssl": options.tls} if options.tls is not None else {}),
    }


@contextmanager
def _translated(options: Options) -> Iterator[None]:
    url = options.url
    try:
        yield
    except InvalidStatus as error:
        answer = error.response
        headers = {name.lower(): value for name, value in answer.headers.raw_items()}
        raise refusal(Received(stream_url(url), answer.status_code, headers, bytes(answer.body or b""))) from error
    except InvalidURI as error:
        raise InvalidAddress(f"{url}: {error}") from error
    except InvalidHandshake as error:
        raise ForeignAnswer(f"{url} did not answer as a WebSocket ({error}); is it an Unroll server?") from error
    except (OSError, EOFError) as error:  # TimeoutError among them
        raise ConnectionFailed(f"{url}: {str(error) or type(error).__name__}", was_sent=False) from error
