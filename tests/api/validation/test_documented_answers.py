"""Every answer has a status, a content type and a body that the OpenAPI document declares for its operation."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from service.api import schemas
from service.tasks.generation.recorded_form import GenerationAnswer

SCHEMAS = {"GenerationAnswer": GenerationAnswer} | vars(schemas)
NAMES = ("tiny-tagger", "tiny-classifier", "tiny-translator", "tiny-generator", "tiny-parser")

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
texts = st.sampled_from(["hello world", "", " ", "\u00e9\U0001f600", "the cat"]) | st.text(max_size=8)
inputs = (
    texts
    | st.lists(texts | st.lists(texts, max_size=3) | values, max_size=3)
    | st.fixed_dictionaries({"frames": st.lists(st.lists(st.floats() | st.integers(), max_size=2), max_size=3)})
    | st.fixed_dictionaries({"wav": texts})
    | values
)
parameters = st.fixed_dictionaries(
    {},
    optional={
        "top_k": st.integers(-1, 3) | values,
        "offsets": st.sampled_from(["utf16", "bytes", "chars"]),
        "num_beams": st.integers(0, 3),
        "max_new_tokens": st.integers(0, 5) | st.just(10**9),
        "details": st.booleans(),
        "best_of": st.integers(0, 3),
        "do_sample": st.booleans(),
        "aggregation_strategy": st.sampled_from(["none", "simple", "all"]),
        "src_lang": st.sampled_from(["en", "de"]),
        "stop": st.lists(texts, max_size=5),
        "nope": values,
    },
)
bodies = values | st.fixed_dictionaries(
    {},
    optional={
        "model": st.sampled_from([*NAMES, "absent", "x" * 65, None]) | values,
        "version": st.sampled_from(["1", "2", None, "1234567890"]),
        "inputs": inputs,
        "parameters": st.none() | parameters | values,
        "state": st.none() | texts,
        "return_state": st.booleans() | values,
        "stream": st.booleans(),
        "n": st.integers(-1, 17),
        "session": st.sampled_from(["a", "a b", ""]),
        "surplus": values,
    },
)
headers = st.fixed_dictionaries(
    {
        "Content-Type": st.sampled_from(
            ["application/json"] * 8 + ["text/plain", "", "application/x+json; charset=utf-8"]
        )
    },
    optional={
        "X-Request-Timeout-Ms": st.sampled_from(["30000", "0", "", "null", "1.5"]),
        "Accept": st.sampled_from(["*/*", "application/openmetrics-text", "text/html"]),
    },
)
reads = st.sampled_from(
    [
        "/models",
        "/models/{name}",
        "/health/live",
        "/health/ready",
        "/metrics",
        "/info",
        "/models/{name}/info",
        "/health",
        "/ping",
        "/models/{name}/health",
    ]
).map(lambda path: ("get", path))
writes = st.sampled_from(
    ["/predict", "/generate", "/generate_stream", "/", "/invocations", "/tokenize", "/models/{name}"]
).map(lambda path: ("post", path))
operations = st.one_of(reads, writes, writes, writes)
names = st.sampled_from([*NAMES, "absent", "y" * 65])
queries = st.sampled_from(["", "?version=1", "?version=9", "?version=1234567890", "?version=", "?other=1"])


def undeclared(operation: dict[str, Any], response: Any) -> str:
    """What the document does not declare of this answer of the operation; empty if it declares all."""
    declared = operation["responses"].get(str(response.status_code))
    if declared is None:
        return f"status {response.status_code}: {response.text[:300]}"
    if not response.content:
        return "no content" if "content" in declared else ""
    media_type = response.headers["Content-Type"].partition(";")[0]
    content = declared.get("content", {})
    if media_type not in content:
        return f"{media_type} for status {response.status_code}"
    reference = content[media_type].get("schema", {}).get("$ref", "")
    if reference:
        try:
            SCHEMAS[reference.rpartition("/")[2]].model_validate_json(response.content)
        except ValidationError as error:
            return str(error)
    return ""


@settings(max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operation=operations, body=bodies, sent=headers, name=names, query=queries)
def test_every_answer_is_one_that_the_document_declares(
    client: TestClient, operation: tuple[str, str], body: Any, sent: dict[str, str], name: str, query: str
) -> None:
    """Statuses, content types and bodies, of random requests of which some are answered and most are refused."""
    method, path = operation
    declared = client.app.framework.openapi()["paths"][path][method]  # type: ignore[attr-defined]
    target = path.format(name=name) + query
    content = json.dumps(body).encode() if method == "post" else None
    assert not undeclared(declared, client.request(method.upper(), target, content=content, headers=sent))


@pytest.mark.parametrize(
    ("path", "body", "sent", "status"),
    [
        ("/predict", b'{"model":"tiny-tagger","inputs":"a"}', {}, 200),
        ("/predict", b'{"model":"tiny-classifier","inputs":["a"],"parameters":{"top_k":2}}', {}, 200),
        ("/predict", b"{", {}, 400),
        ("/predict", b" " * 2_097_153, {}, 413),
        ("/predict", b"{}", {"Content-Type": "text/csv"}, 415),
        ("/predict", b"{}", {}, 422),
        ("/predict", b'{"model":"tiny-tagger","inputs":"a"}', {"X-Request-Timeout-Ms": ""}, 422),
        ("/generate", b'{"inputs":"a","parameters":{"details":true,"max_new_tokens":2},"n":2}', {}, 200),
        ("/generate", b'{"inputs":"","session":"none"}', {}, 404),
        ("/generate_stream", b'{"inputs":"a","parameters":{"max_new_tokens":2}}', {}, 200),
        ("/generate_stream", b'{"inputs":"a","state":"x"}', {}, 422),
    ],
)
def test_each_status_is_declared(client: TestClient, path: str, body: bytes, sent: dict[str, str], status: int) -> None:
    response = client.post(path, content=body, headers={"Content-Type": "application/json"} | sent)
    assert response.status_code == status
    operation = client.app.framework.openapi()["paths"][path]["post"]  # type: ignore[attr-defined]
    assert not undeclared(operation, response)


def test_the_statuses_of_a_busy_session_and_a_late_answer_are_declared(client: TestClient) -> None:
    for path in ("/generate", "/generate_stream"):
        declared = client.get("/openapi.json").json()["paths"][path]["post"]["responses"]
        assert set(declared) >= {"400", "404", "409", "413", "415", "422", "424", "429", "500", "503", "504"}
