"""What came over HTTP, read as an answer of the service, or as the error that it is."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError

from service.client.answers.predictions import PREDICTIONS, Answer, OtherPrediction, PredictResponse
from service.client.errors import ClientError, ForeignAnswer, UnexpectedTask, error_of
from service.client.retries import retry_after_s

A = TypeVar("A", bound=Answer)
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True)
class Received:
    """A whole answer. `headers` are looked up in lower case."""

    url: str
    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300


def object_of(received: Received) -> dict[str, Any]:
    """The JSON object of a successful answer.

    Raises:
        ForeignAnswer: a redirect, a page, or anything else that is no answer of the service.
        ClientError: the service answered an error.
    """
    if received.status in _REDIRECTS:
        target = received.headers.get("location", "another address")
        message = f"{received.url} answered {received.status}, a redirect to {target}: give that address"
        raise ForeignAnswer(message, status=received.status)
    found = _json(received)
    if received.is_success and isinstance(found, dict):
        return found
    raise _error(received, found)


def read_as(kind: type[A]) -> Callable[[Received], A]:
    """A reader of answers of one type, for `Call.read`."""
    return lambda received: validated(kind, object_of(received), received.url)


def validated(kind: type[A], found: Any, url: str) -> A:
    """A JSON value as an answer. Raises ForeignAnswer if it is none."""
    try:
        return kind.model_validate(found)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the answer"
        message = f"{url} answered without a valid {where} ({first['msg'].lower()}); is it an Unroll server?"
        raise ForeignAnswer(message) from error


def prediction_type(task: str, wanted: type[Answer] | None, model: str) -> type[Answer]:
    """The type of a model's predictions. Raises UnexpectedTask if another one was asked for."""
    found = PREDICTIONS.get(task, OtherPrediction)
    if wanted is not None and not issubclass(wanted, found) and wanted is not Answer:
        message = f"{model} is a model for {task}: its predictions are {found.__name__}, not {wanted.__name__}"
        raise UnexpectedTask(message)
    return wanted or found


def predictions_reader(wanted: type[Answer] | None, num_inputs: int) -> Callable[[Received], PredictResponse[Any]]:
    """A reader of `POST /predict` that gives each prediction its type by the task of the model."""

    def read(received: Received) -> PredictResponse[Any]:
        found = object_of(received)
        predictions = found.get("predictions")
        if not isinstance(predictions, list) or len(predictions) != num_inputs:
            message = f"{received.url} did not answer with one prediction for each input; is it an Unroll server?"
            raise ForeignAnswer(message, status=received.status)
        kind = prediction_type(str(found.get("task")), wanted, str(found.get("model")))
        response = PredictResponse[kind]  # type: ignore[valid-type]  # known only now
        return validated(response, found, received.url)

    return read


def _error(received: Received, found: Any) -> ClientError:
    wait_s = retry_after_s(received.headers)
    if received.is_success or not (isinstance(found, dict) and isinstance(found.get("error"), str | dict)):
        message = f"{received.url} answered {received.status} {_nature(received)}; is it an Unroll server?"
        return ForeignAnswer(message, status=received.status, retry_after_s=wait_s)
    request_id = received.headers.get("x-request-id")
    return error_of(found, received.status, request_id=request_id, retry_after_s=wait_s)


def _json(received: Received) -> Any:
    try:
        return json.loads(received.content)
    except (ValueError, RecursionError):
        return None


def _nature(received: Received) -> str:
    """What an answer is that is no JSON object."""
    if not received.content:
        return "without content"
    text = received.content[:200].decode("utf-8", "replace").strip()
    kind = received.headers.get("content-type", "").partition(";")[0].strip()
    if kind == "text/html" or text[:1] == "<":
        return "with a web page"
    return f"with {kind or 'an unknown kind of content'}: {text[:40].strip()!r}"
