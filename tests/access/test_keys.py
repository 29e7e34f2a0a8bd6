"""API keys over HTTP: what is refused and how, what is released in every ending, and what was used."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.access.api_key import KeyLimits
from service.access.caller import Caller
from tests.access.key_makers import bearer, key, key_file, secret_of
from tests.conftest import wait_until
from tests.live_server import Answer, LiveServer, held_runs, live_server, post, request

CLASSIFY = {"model": "tiny-classifier", "inputs": "hello world"}
TAG = {"model": "tiny-tagger", "inputs": "hello world"}
GENERATE = {"inputs": "ab", "parameters": {"max_new_tokens": 5}}
LIMITS = KeyLimits(requests_per_minute=10_000, tokens_per_minute=1_000_000)
KEYS = [
    key("all", limits=LIMITS),
    key("predictor", scopes=("predict",)),
    key("writer", scopes=("generate",)),
    key("tagger", scopes=("predict:tiny-tagger",)),
    key("operator", scopes=("admin",)),
    key("few", limits=KeyLimits(requests_per_minute=1)),
    key("reader", limits=KeyLimits(tokens_per_minute=3)),
    key("single", limits=KeyLimits(concurrent_requests=1)),
    key("small", limits=KeyLimits(max_body_bytes=100)),
    key("old", expires="2020-01-01"),
]


@pytest.fixture(scope="module")
def server(tiny_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    path = key_file(tmp_path_factory.mktemp("keys"), *KEYS)
    with live_server(tiny_models, api_keys_file=path, metrics_need_key=True) as started:
        yield started


@pytest.fixture(params=["", "?"], ids=["fast path", "asgi"])
def ask(request: pytest.FixtureRequest, server: LiveServer) -> Any:
    """Sends one request on a connection of its own, over the fast path or over ASGI."""

    def send(path: str, body: object, **headers: str) -> Answer:
        with server.connect() as connection:
            return connection.ask(post(path + request.param, body, **headers))

    return send


def get(server: LiveServer, path: str, method: str = "GET", **headers: str) -> Answer:
    with server.connect() as connection:
        return connection.ask(request(method, path, **headers))


def caller(server: LiveServer, name: str) -> Caller:
    found: Caller = server.app.state.services.access.identify(bearer(name).encode(), b"")
    return found


def refused(server: LiveServer, name: str, reason: str) -> int:
    return int(server.app.state.services.access.refusals[name, reason])


@pytest.mark.parametrize(
    ("headers", "reason", "challenge"),
    [
        ({}, "missing", 'Bearer realm="unroll"'),
        ({"authorization": "Basic dXNlcjpwYXNz"}, "scheme", 'Bearer realm="unroll"'),
        ({"authorization": bearer("nobody")}, "unknown", 'Bearer realm="unroll", error="invalid_token"'),
        ({"x_api_key": "nobody"}, "unknown", 'Bearer realm="unroll", error="invalid_token"'),
    ],
)
@pytest.mark.parametrize("path", ["/predict", "/generate", "/generate_stream"])
def test_without_a_valid_key_nothing_of_a_body_is_read(
    server: LiveServer, ask: Any, path: str, headers: dict[str, str], reason: str, challenge: str
) -> None:
    before = refused(server, "unknown", reason)
    answer = ask(path, b"{no json", **headers)
    assert (answer.status, answer.json["error_type"]) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"] == challenge
    assert answer.json["request_id"] == answer.headers["x-request-id"]
    assert refused(server, "unknown", reason) == before + 1


def test_an_expired_key_is_named(ask: Any) -> None:
    answer = ask("/predict", CLASSIFY, authorization=bearer("old"))
    assert (answer.status, answer.json["error"]) == (401, "the API key old has expired")


@pytest.mark.parametrize("headers", [{"authorization": bearer("all")}, {"x_api_key": secret_of("all")}])
def test_a_valid_key_is_answered_and_told_what_is_left(ask: Any, headers: dict[str, str]) -> None:
    answer = ask("/predict", CLASSIFY, **headers)
    assert answer.status == 200
    told = {name: value for name, value in answer.headers.items() if name.startswith("x-ratelimit-")}
    assert set(told) == {
        f"x-ratelimit-{what}-{unit}" for what in ("limit", "remaining", "reset") for unit in ("requests", "tokens")
    }
    assert (told["x-ratelimit-limit-requests"], told["x-ratelimit-limit-tokens"]) == ("10000", "1000000")
    assert 0 <= int(told["x-ratelimit-remaining-requests"]) <= 10_000
    assert told["x-ratelimit-reset-requests"].endswith("ms")


@pytest.mark.parametrize(
    ("name", "path", "body", "status"),
    [
        ("predictor", "/predict", CLASSIFY, 200),
        ("predictor", "/generate", GENERATE, 403),
        ("predictor", "/generate_stream", GENERATE, 403),
        ("writer", "/predict", CLASSIFY, 403),
        ("writer", "/generate", GENERATE, 200),
        ("tagger", "/predict", TAG, 200),
        ("tagger", "/predict", CLASSIFY, 403),
        ("tagger", "/predict", b"{", 400),
        ("operator", "/predict", CLASSIFY, 403),
        ("operator", "/generate", b"{", 403),
    ],
)
def test_a_key_does_what_its_scopes_allow(ask: Any, name: str, path: str, body: Any, status: int) -> None:
    answer = ask(path, body, authorization=bearer(name))
    assert answer.status == status
    if status == 403:
        assert answer.json["error_type"] == "forbidden"
        assert "needs the scope" in answer.json["error"]


def test_requests_beyond_the_rate_are_told_when_to_come_back(server: LiveServer, ask: Any) -> None:
    before, statuses = refused(server, "few", "requests_per_minute"), []
    for _ in range(4):
        answer = ask("/predict", CLASSIFY, authorization=bearer("few"))
        statuses.append(answer.status)
    assert statuses[-1] == 429
    assert answer.json["error_type"] == "rate_limited"
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert answer.headers["x-ratelimit-remaining-requests"] == "0"
    assert refused(server, "few", "requests_per_minute") == before + statuses.count(429)


def test_tokens_beyond_the_rate_are_owed(ask: Any) -> None:
    ask("/predict", {"model": "tiny-tagger", "inputs": "a b c d e f"}, authorization=bearer("reader"))
    answer = ask("/predict", TAG, authorization=bearer("reader"))
    assert (answer.status, answer.json["error_type"]) == (429, "rate_limited")
    assert "3 tokens a minute" in answer.json["error"]
    assert int(answer.headers["retry-after"]) > 1


def test_a_body_larger_than_the_key_allows_is_refused(ask: Any) -> None:
    answer = ask("/predict", CLASSIFY | {"inputs": "x" * 200}, authorization=bearer("small"))
    assert (answer.status, answer.json["error_type"]) == (413, "body_too_large")
    assert ask("/predict", CLASSIFY, authorization=bearer("small")).status == 200


def test_a_body_in_chunks_is_held_to_the_same_size(server: LiveServer) -> None:
    body = json.dumps(CLASSIFY | {"inputs": "x" * 200}).encode()
    head = request(
        "POST", "/predict", content_type="application/json", transfer_encoding="chunked", authorization=bearer("small")
    )
    with server.connect() as connection:
        answer = connection.ask(head, b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
    assert answer.status == 413


def test_a_request_at_once_more_than_allowed_is_refused_until_one_ends(server: LiveServer, ask: Any) -> None:
    with server.connect() as first:
        with held_runs(server, "tiny-classifier") as begun:
            first.send(post("/predict", CLASSIFY, authorization=bearer("single")))
            wait_until(begun.is_set)
            answer = ask("/predict", TAG, authorization=bearer("single"))
            assert (answer.status, answer.headers["retry-after"]) == (429, "1")
            assert ask("/predict", TAG, authorization=bearer("all")).status == 200
        assert first.answer().status == 200
    wait_until(lambda: caller(server, "single").num_open == 0)
    assert ask("/predict", TAG, authorization=bearer("single")).status == 200


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        ("/predict", CLASSIFY, {}),
        ("/predict", b"{", {}),
        ("/predict", {"model": "absent", "inputs": "x"}, {}),
        ("/predict", CLASSIFY, {"x_request_timeout_ms": "nonsense"}),
        ("/predict", CLASSIFY, {"content_type": "text/plain"}),
        ("/generate", GENERATE, {}),
        ("/generate_stream", GENERATE, {}),
        ("/generate_stream", {"inputs": "a", "n": 2}, {}),
    ],
)
def test_every_ending_gives_the_request_back(server: LiveServer, ask: Any, path: str, body: Any, headers: Any) -> None:
    if "content_type" in headers:
        raw = json.dumps(body).encode()
        with server.connect() as connection:
            connection.ask(
                request("POST", path, raw, content_length=str(len(raw)), authorization=bearer("all"), **headers)
            )
    else:
        ask(path, body, authorization=bearer("all"), **headers)
    wait_until(lambda: caller(server, "all").num_open == 0)
    assert server.app.num_open == 0


@pytest.mark.parametrize("ending", ["", "?"], ids=["fast path", "asgi"])
@pytest.mark.parametrize("path", ["/predict", "/generate", "/generate_stream"])
def test_a_client_that_leaves_gives_the_request_back(server: LiveServer, path: str, ending: str) -> None:
    model, body = ("tiny-classifier", CLASSIFY) if path == "/predict" else ("tiny-generator", GENERATE)
    with held_runs(server, model) as begun, server.connect() as connection:
        connection.send(post(path + ending, body, authorization=bearer("single")))
        wait_until(begun.is_set)
        assert caller(server, "single").num_open == 1
    wait_until(lambda: caller(server, "single").num_open == 0)


def test_pages_and_probes(server: LiveServer) -> None:
    """Health and the page are open; models need any key, metrics one for administration where the setting says so."""
    for path in ("/health/live", "/health/ready", "/", "/docs", "/openapi.json"):
        assert get(server, path).status == 200
    for path in ("/models", "/models/tiny-tagger", "/playground-traffic"):
        assert get(server, path).status == 401
        assert get(server, path, authorization=bearer("operator")).status == 200
    assert get(server, "/metrics").status == 401
    assert get(server, "/metrics", authorization=bearer("all")).status == 403
    metrics = get(server, "/metrics", authorization=bearer("operator")).body.decode()
    assert "unroll_key_refusals_total{" in metrics
    assert secret_of("all") not in metrics


def test_metrics_are_open_unless_the_setting_closes_them(tiny_models: Path, tmp_path: Path) -> None:
    with live_server(tiny_models, api_keys_file=key_file(tmp_path, key("a"))) as server:
        assert get(server, "/metrics").status == 200
        assert get(server, "/models").status == 401


def test_usage_is_counted_by_key_and_model(server: LiveServer, ask: Any) -> None:
    def used(model: str) -> list[float]:
        labels = {"key": "all", "model": model}
        return [
            server.metric("unroll_usage_requests_total", **labels),
            server.metric("unroll_usage_tokens_total", direction="read", **labels),
            server.metric("unroll_usage_tokens_total", direction="written", **labels),
            server.metric("unroll_usage_compute_seconds_total", **labels),
        ]

    def added(path: str, model: str, body: Any) -> list[float]:
        before = used(model)
        ask(path, body, authorization=bearer("all"))
        wait_until(lambda: used(model)[0] > before[0])
        return [after - was for after, was in zip(used(model), before, strict=True)]

    requests, read, written, compute_s = added("/predict", "tiny-tagger", {"model": "tiny-tagger", "inputs": "a b c"})
    assert (requests, read, written) == (1, 3, 0)
    assert compute_s > 0
    requests, read, written, compute_s = added("/generate", "tiny-generator", GENERATE)
    assert (requests, read) == (1, 2)
    assert 1 <= written <= 5
    assert compute_s > 0


def test_the_log_has_the_name_of_the_key_and_never_the_key(
    server: LiveServer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="service.requests"):
        for name in ("all", "nobody"):
            with server.connect() as connection:
                connection.ask(post("/predict", CLASSIFY, authorization=bearer(name)))
        wait_until(lambda: len(caplog.records) >= 2)
    text = "".join(str(vars(record)) for record in caplog.records)
    assert "'key': 'all'" in text
    assert secret_of("all") not in text
    assert secret_of("nobody") not in text
