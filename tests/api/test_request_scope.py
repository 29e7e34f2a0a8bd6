"""Every answer has a request id, and every refusal is counted by its reason."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry
from starlette.responses import Response

from service.access.access_control import AccessControl
from service.api.call import Services
from service.api.dispatch import Dispatcher
from service.api.error_table import rejection_of, status_and_type
from service.api.protocol import Match, Protocol, Route, RouteTable
from service.api.protocols import predict
from service.api.request_scope import RequestScope
from service.errors import (
    BundleCorrupt,
    DeadlineExceeded,
    InferenceFailed,
    InvalidInput,
    NotReady,
    Overloaded,
    SessionBusy,
    StateRefused,
    UnknownModel,
    UnknownSession,
    UnrollError,
)
from service.observability.json_logs import request_fields_var
from service.observability.metrics import Metrics
from service.server.app import PROTOCOLS
from service.settings import Settings

JSON = {"Content-Type": "application/json"}
TAG = {"model": "tiny-tagger", "inputs": "hello"}
GENERATE = {"inputs": "a", "parameters": {"max_new_tokens": 2}}


PREDICT = Match(predict.PROTOCOL.routes[0], predict.PROTOCOL)


def scope_of(metrics: Metrics) -> RequestScope:
    return RequestScope(None, None, RouteTable(PROTOCOLS), metrics, lambda _: 1024)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/predict", TAG, 200),
        ("POST", "/generate", GENERATE, 200),
        ("POST", "/generate_stream", GENERATE, 200),
        ("POST", "/predict", {"model": "nope", "inputs": "a"}, 404),
        ("POST", "/predict", {"model": "tiny-tagger", "inputs": ""}, 422),
        ("POST", "/predict", {"model": "tiny-tagger", "inputs": "a" * 3_000_000}, 413),
        ("POST", "/predict", None, 415),
        ("GET", "/predict", None, 405),
        ("GET", "/nowhere", None, 404),
        ("GET", "/metrics", None, 200),
        ("GET", "/health/live", None, 200),
    ],
)
def test_every_answer_returns_the_id_of_its_request(
    client: TestClient, method: str, path: str, body: Any, status: int
) -> None:
    """Answers, refusals and streams return the client's request id if it is valid, else a new one."""
    answer = client.request(method, path, json=body, headers={"X-Request-Id": "mine-1"})
    assert (answer.status_code, answer.headers["X-Request-Id"]) == (status, "mine-1")
    made = client.request(method, path, json=body, headers={"X-Request-Id": "not plain"}).headers["X-Request-Id"]
    assert made not in ("not plain", "mine-1")
    assert made.isalnum()


def test_a_request_for_which_there_is_no_room_gets_its_id_and_is_counted() -> None:
    metrics = Metrics(CollectorRegistry())
    scope = scope_of(metrics)
    refused = scope.refuse(PREDICT, [(b"x-request-id", b"mine-1")])
    assert (refused.status_code, refused.headers["X-Request-Id"]) == (429, "mine-1")
    assert scope.refuse(PREDICT, []).headers["X-Request-Id"]
    assert metrics.registry.get_sample_value("unroll_rejections_total", {"reason": "too_many_open"}) == 2


def test_a_fault_on_the_short_way_is_reported_as_what_was_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception on the fast path gets the same status, outcome and request id in answer, log and counter."""
    lines: list[dict[str, Any]] = []
    metrics = Metrics(CollectorRegistry())
    monkeypatch.setattr(
        "service.api.request_scope.log_request",
        lambda logger, level, fields: lines.append({**fields, **request_fields_var.get()}),
    )

    async def fail(*_: object) -> Response:
        raise KeyError("x")

    route = Route("/predict", fail, bytes)
    broken = Match(route, Protocol("broken", "broken", [route]))
    dispatcher = Dispatcher(None, Services(None, Settings(), None, AccessControl(None)))  # type: ignore[arg-type]
    scope = RequestScope(None, dispatcher.respond, RouteTable(PROTOCOLS), metrics, lambda _: 1024)  # type: ignore[arg-type]
    response = asyncio.run(scope.around(broken, [(b"x-request-id", b"mine-1")], b"", fail))
    assert response is not None
    assert (response.status_code, response.headers["X-Request-Id"]) == (500, "mine-1")
    assert (lines[0]["status"], lines[0]["outcome"], lines[0]["request_id"]) == (500, "internal", "mine-1")
    labels = {"model": "none", "task": "none", "outcome": "internal"}
    assert metrics.registry.get_sample_value("unroll_requests_total", labels) == 1


def test_the_line_of_a_caller_that_left_has_its_id(monkeypatch: pytest.MonkeyPatch) -> None:
    ids: list[str] = []
    monkeypatch.setattr(
        "service.api.request_scope.log_request", lambda *_: ids.append(request_fields_var.get()["request_id"])
    )
    scope_of(Metrics(CollectorRegistry())).note_left(PREDICT, [(b"x-request-id", b"mine-1")])
    assert ids == ["mine-1"]
    assert "request_id" not in request_fields_var.get()


def rejections(client: TestClient) -> dict[str, float]:
    """Refusals counted by reason."""
    (family,) = client.app.state.metrics.rejections.collect()  # type: ignore[attr-defined]
    return {sample.labels["reason"]: sample.value for sample in family.samples if sample.name.endswith("_total")}


@pytest.mark.parametrize(
    ("path", "body", "reason"),
    [
        ("/predict", b'{"model": "tiny-tagger", "inputs": ""}', "validation"),
        ("/predict", b'{"model": "tiny-tagger", "inputs": 3}', "validation"),
        ("/predict", b'{"model": "tiny-tagger", "inputs": "a", "more": 1}', "validation"),
        ("/predict", b"{", "malformed_json"),
        ("/predict", b'"' + b"a" * 3_000_000 + b'"', "body_too_large"),
        ("/predict", b'{"model": "nope", "inputs": "a"}', "unknown_model"),
        ("/generate", b'{"inputs": "", "session": "never"}', "unknown_session"),
        ("/generate", b'{"inputs": "", "state": "no state at all"}', "state_malformed"),
        ("/generate_stream", b'{"inputs": "", "state": "no state at all"}', "state_malformed"),
    ],
)
def test_a_refusal_is_counted_once_by_its_reason(client: TestClient, path: str, body: bytes, reason: str) -> None:
    before = rejections(client)
    assert client.post(path, content=body, headers=JSON).is_error
    assert rejections(client) == before | {reason: before.get(reason, 0) + 1}


def test_an_unknown_media_type_is_a_reason_too(client: TestClient) -> None:
    before = rejections(client).get("unsupported_media_type", 0)
    client.post("/predict", content=b"{}", headers={"Content-Type": "text/plain"})
    assert rejections(client)["unsupported_media_type"] == before + 1


def test_an_answer_and_an_operational_route_count_as_no_rejection(client: TestClient) -> None:
    before = rejections(client)
    assert client.post("/predict", json=TAG).is_success
    assert client.get("/models/nope").status_code == 404
    assert rejections(client) == before


@pytest.mark.parametrize(
    ("method", "path", "status", "outcome", "route", "logged_method"),
    [
        ("POST", "/nowhere", 404, "not_found", "unmatched", "POST"),
        ("GET", "/v2/secret/7", 404, "not_found", "unmatched", "GET"),
        ("GET", "/predict", 405, "method_not_allowed", "/predict", "GET"),
        ("DELETE", "/health/live", 405, "method_not_allowed", "/health/live", "DELETE"),
        ("PROPFIND", "/nowhere", 404, "not_found", "unmatched", "other"),
    ],
)
def test_a_path_or_method_that_is_not_served_is_counted_and_logged_by_its_template(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, method: str, path: str, status: int, outcome: str,
    route: str, logged_method: str,
) -> None:  # fmt: skip
    """Unknown paths and methods are logged and counted by template, never as the client wrote them."""
    lines: list[dict[str, Any]] = []
    monkeypatch.setattr("service.api.request_scope.log_request", lambda _, level, fields: lines.append(fields))
    registry = client.app.state.metrics.registry  # type: ignore[attr-defined]
    labels = {"model": "none", "task": "none", "outcome": outcome}
    before = registry.get_sample_value("unroll_requests_total", labels) or 0
    assert client.request(method, path).status_code == status
    assert registry.get_sample_value("unroll_requests_total", labels) == before + 1
    assert [(line["method"], line["route"], line["outcome"]) for line in lines] == [(logged_method, route, outcome)]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (InvalidInput("x"), "validation"),
        (UnknownModel("x"), "unknown_model"),
        (UnknownSession("x"), "unknown_session"),
        (SessionBusy("x"), "session_busy"),
        (Overloaded("x"), "queue_full"),
        (NotReady("x", cause="loading"), "loading"),
        (NotReady("x", cause="draining"), "draining"),
        (BundleCorrupt("x", "y"), "failed_bundle"),  # type: ignore[arg-type]
        (StateRefused("x", "foreign_model"), "state_foreign_model"),
        (StateRefused("x", "too_large"), "state_too_large"),
        (DeadlineExceeded("x"), ""),
        (InferenceFailed("x"), ""),
    ],
)
def test_each_kind_of_error_has_its_reason_and_none_where_a_model_ran(error: UnrollError, reason: str) -> None:
    assert rejection_of(error, status_and_type(error)[1]) == reason
