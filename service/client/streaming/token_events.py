"""Parser of the server-sent events of `POST /generate_stream`, with resumption after a lost connection.

Every replica with the same bundle and the same `UNROLL_STATE_KEYS` continues from a state with exactly the same tokens.
Tokens that were received after the last state are generated a second time and skipped.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping
from typing import Any

from service.client.answers.texts import TokenEvent
from service.client.calls import Call, plain_call
from service.client.errors import ClientError, ForeignAnswer, StreamBroken, error_of
from service.client.response import Received, object_of, validated

#: Tokens between two states. One less than this is the most that is generated twice; a state is as long as 100 events.
STATE_EVERY_TOKENS = 32
_SEED_BITS = 53
_SAMPLING = {"do_sample": True}
_EVENTS = "text/event-stream"
_OK = 200


def is_event_stream(status: int, headers: Mapping[str, str]) -> bool:
    """Whether an answer has events. A gateway may have lost its content type."""
    return status == _OK and headers.get("content-type", _EVENTS).partition(";")[0].strip() == _EVENTS


def refusal(received: Received) -> ClientError:
    """The error in an answer that has no events."""
    try:
        object_of(received)
    except ClientError as error:
        return error
    return ForeignAnswer(f"{received.url} answered without a stream of events; is it an Unroll server?")


class EventDecoder:
    """Splits a body into the data of its events. Lines end with LF or CRLF, never within a character of a text."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._rest = b""
        self._data: list[bytes] = []

    def feed(self, part: bytes) -> Iterator[bytes]:
        """The data of the events that are complete. Raises ForeignAnswer for a line without end."""
        *lines, self._rest = (self._rest + part).split(b"\n")
        if len(self._rest) > self._max_bytes:
            raise ForeignAnswer(f"an event is larger than {self._max_bytes:,} bytes (max_answer_bytes)")
        for line in lines:
            line = line.removesuffix(b"\r")
            if line.startswith(b"data:"):
                self._data.append(line.removeprefix(b"data:").removeprefix(b" "))
            elif not line and self._data:
                data, self._data = b"\n".join(self._data), []
                yield data


class StreamPosition:
    """The progress of a stream, and the request that goes on from its newest state.

    Attributes:
        num_tokens: tokens that were given out, over all connections.
        is_complete: whether the last event was given out.
    """

    def __init__(self, url: str, body: Mapping[str, Any], *, resumes: bool) -> None:
        """`resumes` asks for states on the way; a session, and a caller's own `state_every`, stay as they are."""
        self.num_tokens = 0
        self.is_complete = False
        self._url = url
        self._is_session = "session" in body
        self._resumes = resumes and not self._is_session
        self._body = _resumable(body) if self._resumes else dict(body)
        self._num_before = self._num_at_state = 0
        self._text_before = self._text_at_state = self._text = _text_before(body)

    @property
    def is_repeatable(self) -> bool:
        """Whether another connection can go on without a token twice or missing."""
        return not self._is_session and (self._resumes or not self.num_tokens)

    def connect(self) -> Call[dict[str, Any]]:
        """The next request. The events of its answer count from its state."""
        self._num_before, self._text_before = self._num_at_state, self._text_at_state
        self._text = self._text_before
        return plain_call("POST", "/generate_stream", self._body, self.is_repeatable)

    def next_event(self, data: bytes) -> TokenEvent | None:
        """The event in `data`, with its index in the whole text; None if it was given out before.

        Raises:
            StreamBroken: the replica stops; another one may go on.
            ClientError: the service answers an error, or something else answers.
        """
        event = validated(TokenEvent, _object(data, self._url), self._url)
        index = self._num_before + event.index
        whole = event.model_copy(update={"index": index, **self._end_of(event)})
        self._text += event.text
        if self._resumes and event.state is not None and event.tokens_left is not None:
            self._go_on_from(event.state, event.tokens_left, index)
        if index <= self.num_tokens:
            return None
        self.num_tokens, self.is_complete = index, event.generated_text is not None
        return whole

    def _end_of(self, event: TokenEvent) -> dict[str, Any]:
        """The last event tells of the whole text, and not of what came after the last state."""
        if event.generated_text is None or not self._num_before:
            return {}
        end: dict[str, Any] = {"generated_text": self._text_before + event.generated_text}
        if event.details is not None:
            num_tokens = self._num_before + event.details.generated_tokens
            end["details"] = event.details.model_copy(update={"generated_tokens": num_tokens})
        return end

    def _go_on_from(self, state: str, tokens_left: int, index: int) -> None:
        parameters = {**self._body["parameters"], "max_new_tokens": tokens_left}
        self._body = {**self._body, "inputs": "", "state": state, "parameters": parameters}
        self._num_at_state, self._text_at_state = index, self._text

    def broken(self) -> StreamBroken:
        """The error of a connection that ended early."""
        return StreamBroken(f"{self._url}: the connection ended before the last event")


def _resumable(body: Mapping[str, Any]) -> dict[str, Any]:
    """Before the first state a retry starts over, and only a fixed seed makes it generate the same tokens."""
    parameters = {"seed": secrets.randbits(_SEED_BITS), **(body.get("parameters") or _SAMPLING)}
    return {"state_every": STATE_EVERY_TOKENS, **body, "parameters": parameters}


def _text_before(body: Mapping[str, Any]) -> str:
    parameters = body.get("parameters") or {}
    return str(body["inputs"]) if parameters.get("return_full_text") else ""


def _object(data: bytes, url: str) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ForeignAnswer(f"{url} sent an event that is no JSON; is it an Unroll server?") from error
    if not isinstance(found, dict):
        raise ForeignAnswer(f"{url} sent an event that is no object; is it an Unroll server?")
    if "error" not in found:
        return found
    if found.get("error_type") == "not_ready":
        raise StreamBroken(f"{url}: {found['error']}")
    raise error_of(found)
