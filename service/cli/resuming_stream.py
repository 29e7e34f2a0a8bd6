"""A streamed text that outlives the replica it comes from: where the connection breaks, it goes on from the last state.

Every replica that has the same bundle and the same `UNROLL_STATE_KEYS` goes on with the very same tokens. Those handed
out after the last state are computed a second time and skipped.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from service.errors import InferenceFailed, UnrollError

#: At most so many tokens, less one, are computed twice; a state is as long as a hundred events.
STATE_EVERY_TOKENS = 32

#: The pauses before further tries, as long as no new token comes in between; then the last failure is raised.
PAUSES_S = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
#: What a gateway says if it lost its replica before the first event.
_LOST = 502
#: Answers of a replica that is busy, starts or stops; another try may meet another replica.
_NOT_NOW = frozenset({429, 503})
_SEED_BITS = 53


class _Broken(Exception):
    """A connection ended before the text did. `is_refused`: it could not begin, or there was no room for the text."""

    def __init__(self, message: str, is_refused: bool = False) -> None:
        super().__init__(message)
        self.is_refused = is_refused


class _Place:
    """How far a text has come, and the request that goes on from its newest state.

    Attributes:
        body: the next request.
        num_handed_out: tokens of the whole text that the reader has.
    """

    def __init__(self, body: Mapping[str, Any]) -> None:
        # Until the first state comes, only the seed can make a second beginning like the first.
        seed = secrets.randbits(_SEED_BITS)
        parameters = {"seed": seed, **body["parameters"]}
        self.body: dict[str, Any] = {**body, "parameters": parameters, "state_every": STATE_EVERY_TOKENS}
        self.num_handed_out = 0
        self._num_before_body = 0

    def new(self, events: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Of the answer to `body` the events that the reader does not have yet."""
        num_before = self._num_before_body
        for event in events:
            num_tokens = num_before + event["index"]
            if "tokens_left" in event:
                self._go_on_from(event, num_tokens)
            if num_tokens > self.num_handed_out:
                self.num_handed_out = num_tokens
                yield event

    def _go_on_from(self, event: Mapping[str, Any], num_tokens: int) -> None:
        parameters = {**self.body["parameters"], "max_new_tokens": event["tokens_left"]}
        self.body = {**self.body, "inputs": "", "state": event["state"], "parameters": parameters}
        self._num_before_body = num_tokens


def resuming_stream(url: str, body: Mapping[str, Any], timeout_s: float) -> Iterator[dict[str, Any]]:
    """The events of `POST /generate_stream`, each token once, over as many connections as it takes.

    The indices and the `generated_text` of events are those of their own connection.

    Args:
        url: of a service, or of a gateway before several.
        body: the request, with `inputs` and `parameters`.
        timeout_s: how long to wait for a connection, and for each event.

    Raises:
        UnrollError: the request is refused, or the text cannot go on anywhere.
    """
    place = _Place(body)
    num_failures = num_known = 0
    with httpx.Client(base_url=url, timeout=timeout_s) as client:
        while True:
            try:
                yield from place.new(_events(client, place.body))
                return
            except _Broken as broken:
                if place.num_handed_out > num_known:
                    num_failures, num_known = 0, place.num_handed_out
                if num_failures == len(PAUSES_S) or (broken.is_refused and not place.num_handed_out):
                    raise UnrollError(f"{url}: {broken}") from broken
                time.sleep(PAUSES_S[num_failures])
                num_failures += 1


def refusal(response: httpx.Response) -> UnrollError:
    """What a server said that did not answer with what was asked for."""
    try:
        return UnrollError(str(response.json()["error"]))
    except (ValueError, KeyError, TypeError):
        return UnrollError(f"{response.url} answered {response.status_code}; is it an Unroll server?")


def _events(client: httpx.Client, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The events of one connection, to the last. Raises _Broken if that does not come."""
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
        raise _Broken(str(error), is_refused=isinstance(error, httpx.ConnectError)) from error
    raise _Broken("the stream ended before the text did")


def _refused(response: httpx.Response) -> Exception:
    response.read()
    error = refusal(response)
    if response.status_code == _LOST:
        return _Broken(str(error))
    return _Broken(str(error), is_refused=True) if response.status_code in _NOT_NOW else error


def _checked(event: dict[str, Any]) -> dict[str, Any]:
    """The event if it is one of a token."""
    if event.get("error_type") == "not_ready":
        raise _Broken(event["error"])
    if "error" in event:
        raise InferenceFailed(event["error"])
    return event
