"""The examples for nginx, HAProxy and Caddy in `deploy/`, with the real programs before a live service."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import PATIENCE_S, wait_until
from tests.deploy.proxies.gateways import GATEWAYS, gateway
from tests.live_server import LiveServer, live_server
from tests.tls.certificates import Authority

TAG = {"model": "tiny-tagger", "inputs": "The cat sat."}


@pytest.fixture(scope="module")
def service(tiny_models: Path) -> Iterator[LiveServer]:
    with live_server(tiny_models) as started:
        yield started


@pytest.fixture(scope="module", params=GATEWAYS)
def client(request: Any, service: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp(request.param)
    signed = Authority(folder / "certificates").sign("localhost")
    with (
        gateway(request.param, folder, service.port, signed) as address,
        httpx.Client(base_url=address, verify=False, timeout=PATIENCE_S) as started,
    ):
        yield started


def address_of(client: httpx.Client) -> str:
    return str(client.base_url).rstrip("/")


def test_answers_pass_unchanged(client: httpx.Client, service: LiveServer) -> None:
    """Answers, errors, HEAD and sizes are those of the service."""
    answer = client.post("/predict", json=TAG)
    assert answer.status_code == 200
    assert answer.json()["predictions"]
    assert client.post("/predict", json={**TAG, "model": "absent"}).json()["error_type"] == "unknown_model"
    head = client.head("/models")
    assert (head.status_code, head.content) == (200, b"")


def test_the_proxy_keeps_its_connections(
    client: httpx.Client, service: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clients that come and go do not cost the service a connection each."""
    made: list[Any] = []

    def noting(connection: Any, transport: Any, begin: Any = service.protocol.connection_made) -> None:
        made.append(connection)
        begin(connection, transport)

    monkeypatch.setattr(service.protocol, "connection_made", noting)
    for _ in range(30):
        with httpx.Client(base_url=client.base_url, verify=False, timeout=PATIENCE_S) as one:
            assert one.post("/predict", json=TAG).status_code == 200
    assert len(made) < 10


def test_streams_are_not_held_back(client: httpx.Client, service: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first event arrives while the second is still being computed."""
    runner = service.engine("tiny-generator").opened.runner
    has_first = threading.Event()
    runs = []

    def held(*arguments: Any, original: Any = runner.run) -> Any:
        runs.append(1)
        if len(runs) > 3:
            assert has_first.wait(PATIENCE_S)
        return original(*arguments)

    monkeypatch.setattr(runner, "run", held)
    body = {"inputs": "a", "parameters": {"max_new_tokens": 20}}
    with client.stream("POST", "/unroll/generate_stream", json=body) as response:
        lines = response.iter_lines()
        assert next(lines).startswith('data:{"index":1,')
        has_first.set()
        assert sum(line.startswith("data:") for line in lines) == 19


def test_a_sub_path_with_https_is_kept_in_links_and_redirects(client: httpx.Client) -> None:
    """`/docs` finds its files, redirects keep scheme, host and prefix, and OpenAPI names the server."""
    docs = client.get("/unroll/docs")
    assert "'/unroll/openapi.json'" in docs.text
    assert client.get("/unroll/static-offline-docs/swagger-ui.css").status_code == 200
    assert client.get("/unroll/openapi.json").json()["servers"] == [{"url": "/unroll"}]
    assert client.get("/unroll/docs/").headers["location"] == f"{address_of(client)}/unroll/docs"
    assert "servers" not in client.get("/openapi.json").json()
    assert client.get("/docs/").headers["location"] == f"{address_of(client)}/docs"
    page = client.get("/unroll", follow_redirects=True, headers={"Accept": "text/html"})
    assert str(page.url).endswith("/unroll/")
    assert 'src="playground/' in page.text
    assert client.get("/unroll/playground/app.js").status_code == 200
    assert client.post("/unroll/predict", json=TAG).status_code == 200


def test_what_clients_claim_is_not_believed(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's address is the one that the proxy saw, and scheme, host and prefix are the proxy's."""
    fields: list[dict[str, Any]] = []
    monkeypatch.setattr("service.api.request_scope.log_request", lambda logger, level, one: fields.append(one))
    claims = {
        "X-Forwarded-For": "203.0.113.9",
        "X-Forwarded-Prefix": "/elsewhere",
        "X-Forwarded-Proto": "http",
        "X-Forwarded-Host": "evil.example",
    }
    assert client.post("/predict", json=TAG, headers=claims).status_code == 200
    assert "127.0.0.1" in {one.get("client") for one in fields if one["route"] == "/predict"}
    assert "203.0.113.9" not in {one.get("client") for one in fields}
    assert client.get("/docs/", headers=claims).headers["location"] == f"{address_of(client)}/docs"


@pytest.mark.parametrize("path", ["/metrics", "/unroll/metrics"])
def test_metrics_are_not_for_the_world(client: httpx.Client, path: str) -> None:
    """The monitoring asks the service itself; a proxy answers 404."""
    assert client.get(path).status_code == 404


def test_bodies_beyond_the_limit_are_refused(client: httpx.Client) -> None:
    """A little too large: the service says so in its own form. Far too large: the proxy does."""
    refused = client.post("/predict", content=b" " * 3_000_000, headers={"Content-Type": "application/json"})
    assert (refused.status_code, refused.json()["error_type"]) == (413, "body_too_large")
    assert client.post("/predict", content=b" " * 24_000_000).status_code == 413
    assert client.post("/predict", json=TAG).status_code == 200


@pytest.mark.parametrize("client", ["haproxy"], indirect=True)
def test_failed_checks_of_all_replicas_do_not_fail_requests(
    client: httpx.Client, service: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checks that time out under load must not turn answers into 503: HAProxy goes on without them, and comes back."""

    def replica() -> str:
        answer = client.post("/predict", json=TAG)
        assert answer.status_code == 200
        return answer.headers["X-Unroll-Replica"].rpartition("-")[0]

    assert replica() == "replica"
    with monkeypatch.context() as patch:
        patch.setattr(service.app.state.registry, "reasons", lambda: ["the check fails"])
        wait_until(lambda: replica() == "unchecked")
    wait_until(lambda: replica() == "replica")
