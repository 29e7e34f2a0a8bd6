"""What is answered and logged where nothing is served at a path, or not by this method."""

from __future__ import annotations

import json
import logging

import pytest
from fastapi.testclient import TestClient

from service.observability.json_logs import JsonFormatter


@pytest.mark.parametrize(
    ("method", "path", "sentence"),
    [
        ("POST", "/predcit", "there is nothing at /predcit; did you mean POST /predict?"),
        ("POST", "/v2/predict", "there is nothing at /v2/predict; did you mean POST /predict?"),
        ("POST", "/Predict", "there is nothing at /Predict; did you mean POST /predict?"),
        ("POST", "/generate-stream", "there is nothing at /generate-stream; did you mean POST /generate_stream?"),
        ("GET", "/model/ner-en", "there is nothing at /model/ner-en; did you mean GET /models/{name}?"),
        ("POST", "/model/ner-en", "there is nothing at /model/ner-en; did you mean POST /models/{name}?"),
        ("GET", "/healthz", "there is nothing at /healthz; did you mean GET /health?"),
        ("GET", "/nothing/here", "there is nothing at /nothing/here; /docs lists what there is"),
        ("GET", "/health/reddy", "there is nothing at /health/reddy; did you mean GET /health/ready?"),
        ("POST", "/completions", "there is nothing at /completions; did you mean POST /v1/completions?"),
        ("GET", "/%0a%1b%E2%80%AE", r"there is nothing at /\n\x1b\u202e; /docs lists what there is"),
        ("GET", "/" + "a" * 5000, f"there is nothing at /{'a' * 199}... (5001 characters); /docs lists what there is"),
    ],
)
def test_an_unknown_path_is_named_with_the_nearest_route(
    client: TestClient, method: str, path: str, sentence: str
) -> None:
    response = client.request(method, path)
    assert (response.status_code, response.json()["error_type"]) == (404, "not_found")
    assert response.json()["error"] == sentence


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/predict", "POST"),
        ("DELETE", "/generate_stream", "POST"),
        ("POST", "/models", "GET"),
        ("PUT", "/models", "GET"),
        ("PUT", "/models/ner-en/info", "GET"),
        ("POST", "/health/live", "GET"),
        ("BREW", "/metrics", "GET"),
    ],
)
def test_a_wrong_method_is_answered_with_those_that_the_path_takes(
    client: TestClient, method: str, path: str, allowed: str
) -> None:
    """The sentence and the Allow header name them."""
    response = client.request(method, path)
    assert (response.status_code, response.headers["allow"]) == (405, allowed)
    assert response.json()["error"] == f"{path} takes {allowed}, not {method}"


def test_the_log_line_has_the_path_cut_and_escaped(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    """Only where nothing is served: elsewhere the route says enough, and paths may hold names. No query is logged."""
    with caplog.at_level(logging.DEBUG, "service.requests"):
        client.post("/nowhere%0A%22/" + "x" * 5000 + "?secret=1", json={})
        client.put("/models/ner-en")
        client.get("/models/unknown")
    ours = [record for record in caplog.records if record.name == "service.requests"]
    lines = [json.loads(JsonFormatter().format(record)) for record in ours]
    assert [line.get("path") for line in lines] == [
        '/nowhere\\n"/' + "x" * 189 + "... (5011 characters)",
        "/models/ner-en",
        None,
    ]
