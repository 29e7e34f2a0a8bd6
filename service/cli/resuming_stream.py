"""Resumable streaming: when the connection to a replica is lost, generation continues elsewhere from the last state.

Every replica with the same bundle and the same `UNROLL_STATE_KEYS` continues with exactly the same tokens. Tokens that
were received after the last state are generated a second time and skipped.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from service.cli.http_client import key_header
from service.errors import InferenceFailed, UnrollError

#: Tokens between two states. One less than this is the most that is generated twice; a state is as long as 100 events.
STATE_EVERY_TOKENS = 32

#: Pauses between attempts that bring no new token; after the last one, the failure is raised.
PAUSES_S = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
#: Status of a gateway whose replica failed before the first event.
_BAD_GATEWAY = 502
#: Statuses of a replica that is overloaded, starting or stopping; a retry may reach another replica.
_RETRIABLE = frozenset({429, 503})
_SEED_BITS = 53


class _ConnectionLost(Exception):
    """The connection ended before the stream did. `is_refused`: it was not established, or the request was refused."""

    def __init__(self, message: str, is_refused: bool = False) -> None:
        super().__init__(message)
        self.is_refused = is_refused


class _StreamPosition:
    """The progress of a stream, and the request that continues from its newest state.

    Attributes:
        body: the next request.
        num_yielded: tokens that were yielded so far, over all connections.
    """

    def __init__(self, body: Mapping[str, Any]) -> None:
        # Before the first state a retry starts over, and only a fixed seed makes it generate the same tokens.
        seed = secrets.randbits(_SEED_BITS)
        parameters = {"seed": seed, **body["parameters"]}
        self.body: dict[str, Any] = {**body, "parameters": parameters, "state_every": STATE_EVERY_TOKENS}
        self.num_yielded = 0
        self._num_before_body = 0

    def new(self, events: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """The events of the answer to `body` that were not yielded before."""
        num_before = self._num_before_body
        for event in events:
            num_tokens = num_before + event["index"]
            if "tokens_left" in event:
                self._continue_from(event, num_tokens)
            if num_tokens > self.num_yielded:
                self.num_yielded = num_tokens
                yield event

    def _continue_from(self, event: Mapping[str, Any], num_tokens: int) -> None:
        parameters = {**self.body["parameters"], "max_new_tokens": event["tokens_left"]}
        self.body = {**self.body, "inputs": "", "state": event["state"], "parameters": parameters}
        self._num_before_body = num_tokens


def resuming_stream(url: str, body: Mapping[str, Any], timeout_s: float) -> Iterator[dict[str, Any]]:
    """The events of `POST /generate_stream`, each token once, over as many connections as needed.

    The indices and the `generated_text` of an event are relative to its own connection.

    Args:
        url: of a service, or of a gateway in front of several replicas.
        body: the request, with `inputs` and `parameters`.
        timeout_s: limit on connecting, and on each event.

    Raises:
        UnrollError: the request is refused, or no replica can continue.
    """
    position = _StreamPosition(body)
    num_failures = num_known = 0
    with httpx.Client(base_url=url, headers=key_header(), timeout=timeout_s) as client:
        while True:
            try:
                yield from position.new(_events(client, position.body))
                return
            except _ConnectionLost as lost:
                if position.num_yielded > num_known:
                    num_failures, num_known = 0, position.num_yielded
                if num_failures == len(PAUSES_S) or (lost.is_refused and not position.num_yielded):
                    raise UnrollError(f"{url}: {lost}") from lost
                time.sleep(PAUSES_S[num_failures])
                num_failures += 1


def refusal(response: httpx.Response) -> UnrollError:
    """The error in the answer of a server."""
    try:
        return UnrollError(str(response.json()["error"]))
    except (ValueError, KeyError, TypeError):
        return UnrollError(f"{response.url} answered {response.status_code}; is it an Unroll server?")


def _events(client: httpx.Client, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The events of one connection. Raises _ConnectionLost if it ends before the last one."""
    try:
        with client.stream("POST", "/generate_stream", json=body) as response:
            if response.is_error:
                raise _refused(response)
            for line in response.iter_lines():
                if line.startswith("data:"):
                    event = _checked(json.loads(line.removeprefix("data:")))
                    yield event
                    if event["generated_text"] is not None:
                        return
    except httpx.TransportError as error:
        raise _ConnectionLost(str(error), is_refused=isinstance(error, httpx.ConnectError)) from error
    raise _ConnectionLost("the connection ended before the last event")


def _refused(response: httpx.Response) -> Exception:
    response.read()
    error = refusal(response)
    if response.status_code == _BAD_GATEWAY:
        return _ConnectionLost(str(error))
    return _ConnectionLost(str(error), is_refused=True) if response.status_code in _RETRIABLE else error


def _checked(event: dict[str, Any]) -> dict[str, Any]:
    """The event, unless it reports an error."""
    if event.get("error_type") == "not_ready":
        raise _ConnectionLost(event["error"])
    if "error" in event:
        raise InferenceFailed(event["error"])
    return event
