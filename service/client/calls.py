"""Calls of the HTTP API as values: what is sent, how the answer is read, and whether it may be sent twice.

A call is `repeatable` if sending it again changes nothing that the first time did not: all of them but a step of a
session, which moves the state that the service keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from service.client.answers.models import (
    Health,
    KeptSession,
    ModelDetails,
    ModelVersion,
    ReloadAnswer,
    RolloutState,
    ShadowReport,
)
from service.client.answers.predictions import Answer, PredictResponse
from service.client.answers.texts import Embeddings, GenerateResponse, TextScore, TextToken
from service.client.inputs import Input, json_body, json_inputs, texts_of
from service.client.response import Received, object_of, predictions_reader, read_as, validated

T = TypeVar("T")
A = TypeVar("A", bound=Answer)
_NOT_READY = 503


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request. `read` raises ClientError; `body` is JSON, None for none."""

    method: str
    path: str
    read: Callable[[Received], T]
    body: Mapping[str, Any] | None = None
    repeatable: bool = True
    query: Mapping[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes | None:
        """The body in UTF-8. Raises InvalidInput where it is no JSON."""
        return None if self.body is None else json_body(self.body)


def plain_call(method: str, path: str, body: Mapping[str, Any] | None, repeatable: bool) -> Call[dict[str, Any]]:
    """Any route that answers a JSON object."""
    return Call(method, f"/{path.lstrip('/')}", object_of, body, repeatable)


def predict_call(
    inputs: Input | Sequence[Input],
    model: str | None,
    version: str | None,
    wanted: type[Answer] | None,
    state: str | None,
    return_state: bool,
    parameters: Mapping[str, Any],
) -> Call[PredictResponse[Any]]:
    """`POST /predict`."""
    written = json_inputs(inputs)
    body = _body(model, version, written, parameters) | _state(state, return_state)
    num_inputs = len(written) if isinstance(written, list) else 1
    return Call("POST", "/predict", predictions_reader(wanted, num_inputs), body)


def generate_body(
    prompt: str,
    model: str | None,
    version: str | None,
    state: str | None,
    return_state: bool,
    session: str | None,
    parameters: Mapping[str, Any],
) -> dict[str, Any]:
    """The body of `POST /generate` and `/generate_stream`."""
    body = _body(model, version, prompt, parameters) | _state(state, return_state)
    return body if session is None else body | {"session": session}


def generate_call(body: Mapping[str, Any]) -> Call[GenerateResponse]:
    """`POST /generate`."""
    return Call("POST", "/generate", read_as(GenerateResponse), body, repeatable="session" not in body)


def score_call(text: str, model: str | None, version: str | None) -> Call[TextScore]:
    """The log-probabilities of a text, by `POST /generate` without a new token."""
    parameters = {"max_new_tokens": 0, "details": True, "decoder_input_details": True}

    def read(received: Received) -> TextScore:
        details = object_of(received).get("details")
        told = details if isinstance(details, dict) else {}
        known = {name: told[name] for name in ("perplexity", "bits_per_character") if name in told}
        return validated(TextScore, known | {"tokens": told.get("prefill")}, received.url)

    return Call("POST", "/generate", read, _body(model, version, text, parameters))


def tokenize_call(text: str, model: str | None, version: str | None) -> Call[list[TextToken]]:
    """`POST /tokenize`, which answers a list."""

    def read(received: Received) -> list[TextToken]:
        if received.is_success and received.content.lstrip()[:1] == b"[":
            listed = Received(received.url, received.status, received.headers, b'{"all":' + received.content + b"}")
            return [validated(TextToken, each, received.url) for each in object_of(listed)["all"]]
        return _entries(TextToken, object_of(received), "tokens", received)

    return Call("POST", "/tokenize", read, _body(model, version, text, {}))


def embeddings_call(
    inputs: str | Sequence[str], model: str | None, version: str | None, normalize: bool
) -> Call[Embeddings]:
    """`POST /v1/embeddings`."""
    body = {"model": model, "version": version, "input": texts_of(inputs), "normalize": normalize}
    given = {name: value for name, value in body.items() if value is not None}
    return Call("POST", "/v1/embeddings", read_as(Embeddings), given)


def models_call() -> Call[list[ModelVersion]]:
    """`GET /models`."""
    return Call("GET", "/models", lambda received: _entries(ModelVersion, object_of(received), "models", received))


def model_call(name: str, version: str | None) -> Call[ModelDetails]:
    """`GET /models/{name}`."""
    query = {} if version is None else {"version": version}
    return Call("GET", model_path(name), read_as(ModelDetails), query=query)


def health_call(is_live: bool) -> Call[Health]:
    """`GET /health/ready` or `/health/live`. 503 with reasons is an answer, and no error."""

    def read(received: Received) -> Health:
        if received.status == _NOT_READY:
            received = Received(received.url, 200, received.headers, received.content)
        return validated(Health, object_of(received), received.url)

    return Call("GET", "/health/live" if is_live else "/health/ready", read)


def sessions_call() -> Call[list[KeptSession]]:
    """`GET /sessions`."""
    return Call("GET", "/sessions", lambda received: _entries(KeptSession, object_of(received), "sessions", received))


def delete_session_call(name: str) -> Call[int]:
    """`DELETE /sessions/{name}`."""
    path = f"/sessions/{quote(name, safe='')}"
    return Call("DELETE", path, lambda received: int(object_of(received).get("deleted", 0)))


def model_state_call(name: str, verb: str, version: str | None) -> Call[RolloutState]:
    """`POST /models/{name}/load` and `/unload`."""
    return Call(
        "POST", f"{model_path(name)}/{verb}", read_as(RolloutState), {} if version is None else {"version": version}
    )


def rollout_call(name: str, changes: Mapping[str, Any] | None) -> Call[RolloutState]:
    """`GET /models/{name}/rollout`, or `POST` with what should change."""
    return Call("GET" if changes is None else "POST", f"{model_path(name)}/rollout", read_as(RolloutState), changes)


def shadow_call(name: str) -> Call[ShadowReport]:
    """`GET /models/{name}/shadow`."""
    return Call("GET", f"{model_path(name)}/shadow", read_as(ShadowReport))


def reload_call() -> Call[ReloadAnswer]:
    """`POST /reload`."""
    return Call("POST", "/reload", read_as(ReloadAnswer), {})


def model_path(name: str) -> str:
    """The path of a model."""
    return f"/models/{quote(name, safe='')}"


def _entries(kind: type[A], found: Mapping[str, Any], name: str, received: Received) -> list[A]:
    listed = found.get(name)
    entries = listed if isinstance(listed, list) else [listed]
    return [validated(kind, each, received.url) for each in entries]


def _body(model: str | None, version: str | None, inputs: Any, parameters: Mapping[str, Any]) -> dict[str, Any]:
    body = {"model": model, "version": version, "inputs": inputs, "parameters": dict(parameters) or None}
    return {name: value for name, value in body.items() if value is not None}


def _state(state: str | None, return_state: bool) -> dict[str, Any]:
    given: dict[str, Any] = {} if state is None else {"state": state}
    return given | ({"return_state": True} if return_state else {})
