"""The order of messages on `/stream`, without a socket: what is sent, what is still to be answered, what came."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

from service.client.answers.predictions import Answer
from service.client.errors import ClientError, ConnectionFailed, ForeignAnswer, InvalidInput, StreamClosing, error_of
from service.client.inputs import Tensors, json_body, plain_arrays, rows_of
from service.client.response import prediction_type, validated
from service.client.streaming.messages import (
    OtherMessage,
    StreamAnswer,
    StreamFinal,
    StreamResult,
    StreamStarted,
    StreamState,
    StreamToken,
)

M = TypeVar("M", str, str | bytes)

#: What may be sent: a piece of a text, samples or a part of a file as bytes, rows of numbers, or named arrays.
Piece = str | bytes | Sequence[Sequence[float]] | Tensors

#: Answers that wait to be read, at most. A caller that sends so many inputs without reading an answer never reads any.
MAX_UNREAD = 10_000


def stream_url(base_url: str) -> str:
    """The address of the WebSocket of a service."""
    parts = urlsplit(base_url)
    scheme = "wss" if parts.scheme == "https" else "ws"
    return urlunsplit((scheme, parts.netloc, f"{parts.path.rstrip('/')}/stream", "", ""))


class Conversation:
    """One input on one connection.

    Attributes:
        started: how the service answers this input; None before it has said so.
        num_unanswered: inputs that were sent and have no answer yet.
        is_over: whether the last answer came.
        unread: answers that came and were not given out.
    """

    def __init__(self, url: str, start: Mapping[str, Any], wanted: type[Answer] | None) -> None:
        self.started: StreamStarted | None = None
        self.num_unanswered = 1
        self.is_over = False
        self.unread: deque[StreamAnswer] = deque()
        self._url = url
        self._start = start
        self._wanted = wanted
        self._prediction: type[Answer] = Answer  # until `started` says the task
        self._failure: ClientError | None = None

    @property
    def start(self) -> str:
        """The first message."""
        given = {name: value for name, value in self._start.items() if value is not None}
        return json_body({"type": "start", **given}).decode()

    def piece(self, piece: Piece, flush: bool) -> str | bytes:
        """The message of one input. Raises InvalidInput."""
        return self._counted(_message(piece, flush))

    def request(self, kind: str, **fields: Any) -> str:
        """A message other than an input: generate, state or end."""
        return self._counted(json_body({"type": kind, **fields}).decode())

    def _counted(self, message: M) -> M:
        """The message, which waits for an answer from now on: one that could not be written is never waited for."""
        if self.is_over:
            raise InvalidInput("this stream has ended: open another one for the next input")
        if len(self.unread) >= MAX_UNREAD:
            raise InvalidInput(f"{MAX_UNREAD:,} answers of this stream are unread: iterate over it while sending")
        self.num_unanswered += 1
        return message

    def receive(self, message: str | bytes) -> StreamAnswer | None:
        """The answer in a message; None for `started`.

        Raises:
            StreamClosing: the service stops; the state continues elsewhere.
            ClientError: the service answers an error, or something else answers.
        """
        found = self._object(message)
        kind = found.pop("type", None)
        if kind == "error":
            self._failure = error_of(found)
            raise self._failure
        if kind == "closing":
            message = f"{self._url}: the service stops; open another stream with `state`, and send `held` first"
            self._failure = StreamClosing(message, found.get("state"), str(found.get("held", "")))
            raise self._failure
        if kind == "started":
            self._begin(validated(StreamStarted, found, self._url))
            return None
        return self._answer(str(kind), found)

    def closed(self, code: int | None, reason: str) -> ClientError:
        """The error of a connection that ended before its last answer: what the service said before it closed it."""
        if self._failure is not None:
            return self._failure
        why = f"close code {code}{f', {reason}' if reason else ''}" if code else "without a close code"
        return ConnectionFailed(f"{self._url}: the connection ended before the last answer ({why})", was_sent=True)

    def _begin(self, started: StreamStarted) -> None:
        self.started = started
        self.num_unanswered -= 1
        self._prediction = prediction_type(started.task, self._wanted, started.model)

    def _answer(self, kind: str, found: dict[str, Any]) -> StreamAnswer:
        if kind == "token":
            return validated(StreamToken, found, self._url)
        if kind == "state":
            self.num_unanswered -= 1
            return validated(StreamState, found, self._url)
        if kind == "result":
            self.num_unanswered -= 1
            return validated(StreamResult[self._prediction], found, self._url)  # type: ignore[name-defined]
        if kind == "final":
            self.num_unanswered, self.is_over = 0, True
            return validated(StreamFinal[self._prediction], found, self._url)  # type: ignore[name-defined]
        return validated(OtherMessage, {"type": kind, **found}, self._url)

    def leave(self) -> None:
        """Nothing more is sent: this end closes the connection."""
        self.is_over = True

    def _object(self, message: str | bytes) -> dict[str, Any]:
        try:
            found = json.loads(message)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise ForeignAnswer(f"{self._url} sent a message that is no JSON object; is it an Unroll server?")
        return found


def _message(piece: Piece, flush: bool) -> str | bytes:
    """The message of one input. Raises InvalidInput."""
    if isinstance(piece, bytes | bytearray | memoryview):
        return bytes(piece)
    if isinstance(piece, str):
        return json_body({"type": "text", "text": piece, **({"flush": True} if flush else {})}).decode()
    if isinstance(piece, Tensors):
        return json_body({"type": "tensors", "tensors": plain_arrays(piece)}).decode()
    return json_body({"type": "frames", "frames": rows_of(piece, "frames")}).decode()
