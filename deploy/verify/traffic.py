"""Traffic of all kinds for the bundles in models/: each task, errors, streams, states and sessions."""

from __future__ import annotations

import base64
import json
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from itertools import islice
from typing import Any

from deploy.verify.http_client import Answer, HttpClient
from deploy.verify.stack import ROOT
from deploy.verify.steps import CheckFailed

#: All requests belong to one trace, whose id must appear as an exemplar of the latencies.
TRACE_ID = secrets.token_hex(16)
_TRACE = {"traceparent": f"00-{TRACE_ID}-{secrets.token_hex(8)}-01"}
_PAUSE_S = 0.2
_MORE_THAN_A_BODY_MAY_HAVE = b" " * (3 * 1024 * 1024)


@cache
def first_example(model: str, version: str) -> dict[str, Any]:
    """The first of the bundle's recorded examples."""
    path = ROOT / "models" / model / version / "examples.jsonl"
    with path.open(encoding="utf-8") as lines:
        example: dict[str, Any] = json.loads(next(lines))
    return example


def models_of(service: HttpClient) -> list[dict[str, Any]]:
    """All ready model versions."""
    listed = expect(service.get("/models"), 200).json["models"]
    return [model for model in listed if model["state"] == "ready"]


def ask(service: HttpClient, model: dict[str, Any]) -> Any:
    """Answer of a model to its first example. Raises CheckFailed if it is incomplete."""
    example = first_example(model["name"], model["version"])
    body = {"model": model["name"], "inputs": example["inputs"]}
    if model["task"] == "generation":
        answer = expect(service.post("/generate", {**body, "parameters": {"max_new_tokens": 20}}, _TRACE), 200).json
        return _checked(answer["generated_text"], model)
    return _checked(expect(service.post("/predict", body, _TRACE), 200).json["predictions"], model)


def stream(service: HttpClient, model: str, num_tokens: int) -> list[Any]:
    """Events of a stream. Raises CheckFailed unless the last one has the text."""
    parameters = {"max_new_tokens": num_tokens, "seed": 7, "temperature": 0.8}
    events = list(service.events("/generate_stream", {"model": model, "inputs": "ROMEO:", "parameters": parameters}))
    if not events or not events[-1].get("generated_text"):
        raise CheckFailed(f"the stream ended without its text, after {len(events)} events")
    return events


def one_round(service: HttpClient) -> None:
    """Send requests of all kinds, so that every metric has a value."""
    models = models_of(service)
    for model in models:
        ask(service, model)
    for name in [model["name"] for model in models if model["task"] == "generation"]:
        _generations(service, name)
    _websocket(service)
    _refusals(service, models)


def _generations(service: HttpClient, name: str) -> None:
    """Complete and cancelled streams, continued states and sessions, and a repeated prompt."""
    stream(service, name, 30)
    for _ in islice(service.events("/generate_stream", _generate(name, 400)), 3):
        pass  # cancel the stream
    first = expect(service.post("/generate", _generate(name, 5, return_state=True)), 200).json
    service.post("/generate", _generate(name, 5, inputs="", state=first["state"]))
    service.post("/generate", _generate(name, 5, inputs="", state="x" + first["state"][1:]))
    service.post("/generate", _generate(name, 5, session="verify"))
    service.post("/generate", _generate(name, 5, n=3))
    service.post("/generate", _generate(name, 400), {"X-Request-Timeout-Ms": "1"})


def _websocket(service: HttpClient) -> None:
    """Open a stream of messages, and leave."""
    offer = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    key = base64.b64encode(secrets.token_bytes(16)).decode()
    expect(service.get("/stream", headers={**offer, "Sec-WebSocket-Key": key}), 101)


def _refusals(service: HttpClient, models: list[dict[str, Any]]) -> None:
    """Client errors of all kinds."""
    name = models[0]["name"]
    expect(service.post("/predict", {"model": name, "inputs": ["hello", " "]}), 422)
    expect(service.post("/predict", {"model": "no-such-model", "inputs": "hello"}), 404)
    expect(service.post("/predict", b"{"), 400)
    expect(service.post("/predict", b"hello", {"Content-Type": "text/plain"}), 415)
    with suppress(OSError):  # the service may refuse it before all of it is sent
        service.post("/predict", _MORE_THAN_A_BODY_MAY_HAVE)


def _generate(model: str, num_tokens: int, inputs: str = "ROMEO:", **more: object) -> dict[str, object]:
    parameters = {"max_new_tokens": num_tokens, "seed": 7, "temperature": 0.8}
    return {"model": model, "inputs": inputs, "parameters": parameters, **more}


def expect(answer: Answer, status: int) -> Answer:
    """Response with the expected status. Raises CheckFailed."""
    if answer.status != status:
        raise CheckFailed(f"wanted HTTP {status}, got {answer}")
    return answer


def _checked(found: Any, model: dict[str, Any]) -> Any:
    if not found:
        raise CheckFailed(f"{model['name']} answered with nothing")
    return found


@contextmanager
def steady(service: HttpClient, do: Callable[[HttpClient], None] = one_round) -> Iterator[list[str]]:
    """Repeat the traffic in a thread while the block runs. Yields a list of its errors."""
    faults: list[str] = []
    is_over = threading.Event()

    def work() -> None:
        while not is_over.wait(_PAUSE_S):
            try:
                do(service)
            except (CheckFailed, OSError) as error:
                faults.append(str(error))

    thread = threading.Thread(target=work, name="traffic")
    thread.start()
    try:
        yield faults
    finally:
        is_over.set()
        thread.join()
