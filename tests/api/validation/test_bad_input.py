"""Invalid requests are refused with the right status and field, and do not affect other requests."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.tiny_bundles import NAMES

JSON_HEADERS = {"Content-Type": "application/json"}
ODD_TEXTS = [
    *("😀😀", "👩‍👩‍👧", "مرحبا بالعالم", "\u202eabc\u202c", "e\u0301", "𝕏", "a\u2028b"),
    *("a\x00b", "\x00", "\ufeff", "\u200b", "<pad>", "<eos> <bos>"),
]
ROUTES = ("/predict", "/generate", "/generate_stream")


def post_raw(client: TestClient, body: bytes, path: str = "/predict") -> Any:
    """Send raw bytes, and check that an error answer has the common error format."""
    response = client.post(path, content=body, headers=JSON_HEADERS)
    answer = response.json()
    if response.is_error:
        assert isinstance(answer["error"], str)
        assert isinstance(answer["error_type"], str)
        assert answer["request_id"] == response.headers["X-Request-Id"]
    return response


def expect_refused(client: TestClient, body: Any, status: int, field: str = "", path: str = "/predict") -> Any:
    """Send JSON that must be refused with this status and this first field."""
    response = post_raw(client, json.dumps(body).encode(), path)
    answer = response.json()
    assert response.status_code == status, answer
    if field:
        assert answer["detail"][0]["field"] == field
        assert answer["detail"][0]["message"]
    return answer


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"\xff\xfe",
        b'{"inputs": tru}',
        b"[" * 100_000,
        b'{"inputs": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        b'{"inputs": ' + b"9" * 5_000 + b"}",
        b"\x00",
        rb'{"inputs": "\ud800"}',
        rb'{"inputs": [["ok", "\ud83d"]]}',
        rb'{"inputs": "a", "parameters": {"\ud800": 1}}',
    ],
    ids=[
        "cut off",
        "not utf-8",
        "no literal",
        "deep and open",
        "deep and closed",
        "huge integer",
        "nul",
        "half a surrogate pair",
        "half a pair in a word",
        "half a pair in a name",
    ],
)
def test_malformed_json_is_400(client: TestClient, path: str, body: bytes) -> None:
    """Invalid JSON is a 400 on every route."""
    response = post_raw(client, body, path)
    assert response.status_code == 400
    assert response.json()["error_type"] == "malformed_json"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "inputs"),
        ({"inputs": None}, "inputs"),
        ({"inputs": 7}, "inputs"),
        ({"inputs": {"a": 1}}, "inputs"),
        ({"inputs": []}, "inputs"),
        ({"inputs": ["the cat", 7]}, "inputs.1"),
        ({"inputs": ["the cat", None, "x"]}, "inputs.1"),
        ({"inputs": [["a", 3]]}, "inputs.0.1"),
        ({"inputs": [["a", ["b"]]]}, "inputs.0.1"),
        ({"inputs": ""}, "inputs"),
        ({"inputs": "  \n\t"}, "inputs"),
        ({"inputs": ["the cat", ""]}, "inputs.1"),
        ({"inputs": ["the cat", []]}, "inputs.1"),
        ({"inputs": "the " * 41}, "inputs"),
        ({"inputs": ["a", "the " * 41]}, "inputs.1"),
        ({"inputs": [["a"] * 41]}, "inputs.0"),
        ({"inputs": ["a"] * 129}, "inputs"),
        ({"inputs": "a", "parameters": {"nope": 1}}, "parameters.nope"),
        ({"inputs": "a", "parameters": {"top_k": 0}}, "parameters.top_k"),
        ({"inputs": "a", "parameters": {"top_k": "3"}}, "parameters.top_k"),
        ({"inputs": "a", "parameters": {"top_k": True}}, "parameters.top_k"),
        ({"inputs": "a", "parameters": {"top_k": 1e300}}, "parameters.top_k"),
        ({"inputs": "a", "parameters": []}, "parameters"),
        ({"inputs": "a", "surplus": 1}, "surplus"),
        ({"inputs": "a", "version": 1}, "version"),
    ],
)
def test_wrong_values_are_422_with_the_path_of_the_field(client: TestClient, body: dict[str, Any], field: str) -> None:
    """Wrong types, empty, too long, too many and unknown values are 422 with the path of the field."""
    answer = expect_refused(client, {"model": "tiny-classifier", **body}, 422, field)
    assert answer["error_type"] == "validation"


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"temperature": 0}, "parameters.temperature"),
        ({"temperature": -1.0}, "parameters.temperature"),
        ({"temperature": float("nan")}, "parameters.temperature"),
        ({"temperature": float("inf")}, "parameters.temperature"),
        ({"temperature": "hot"}, "parameters.temperature"),
        ({"top_p": 1.0}, "parameters.top_p"),
        ({"top_p": 0}, "parameters.top_p"),
        ({"typical_p": 2}, "parameters.typical_p"),
        ({"top_k": 0}, "parameters.top_k"),
        ({"top_k": 1.5}, "parameters.top_k"),
        ({"repetition_penalty": 0}, "parameters.repetition_penalty"),
        ({"frequency_penalty": 3}, "parameters.frequency_penalty"),
        ({"max_new_tokens": 0}, "parameters.max_new_tokens"),
        ({"max_new_tokens": 10**30}, "parameters.max_new_tokens"),
        ({"max_new_tokens": 31}, "parameters.max_new_tokens"),
        ({"seed": -1}, "parameters.seed"),
        ({"stop": ["a"] * 5}, "parameters.stop"),
        ({"stop": [""]}, "parameters.stop.0"),
        ({"best_of": 2}, "parameters.best_of"),
        ({"watermark": True}, "parameters.watermark"),
        ({"truncate": 0}, "parameters.truncate"),
        ({"truncate": 100_000}, "parameters.truncate"),
        ({"nope": 1}, "parameters.nope"),
    ],
)
@pytest.mark.parametrize("path", ["/generate", "/generate_stream"])
def test_impossible_sampling_is_422_before_the_stream_begins(
    client: TestClient, path: str, parameters: dict[str, Any], field: str
) -> None:
    """A stream with invalid sampling parameters is refused by status, not by an error event."""
    expect_refused(client, {"inputs": "a", "parameters": parameters}, 422, field, path)


def test_an_unknown_model_is_404_and_lists_what_there_is(client: TestClient) -> None:
    answer = expect_refused(client, {"model": "nope", "inputs": "a"}, 404)
    assert answer["available"] == sorted(NAMES.values())
    assert "tiny-tagger" in answer["error"]


def test_an_unknown_version_is_404_and_lists_what_there_is(client: TestClient) -> None:
    answer = expect_refused(client, {"model": "tiny-tagger", "version": "9", "inputs": "a"}, 404)
    assert answer["available"] == ["tiny-tagger 1"]


def test_a_model_of_another_route_is_named_with_its_route(client: TestClient) -> None:
    answer = expect_refused(client, {"model": "tiny-generator", "inputs": "a"}, 422, "model")
    assert "/generate" in answer["error"]


def test_leaving_the_model_out_is_422_when_several_could_answer(client: TestClient) -> None:
    answer = expect_refused(client, {"inputs": "a"}, 422, "model")
    assert all(name in answer["error"] for name in ("tiny-classifier", "tiny-tagger", "tiny-translator"))


def test_a_hostile_model_name_is_refused_and_never_becomes_a_label(client: TestClient) -> None:
    """Invalid model names, such as lone surrogates and very long names, are refused and never become metric labels."""
    assert post_raw(client, json.dumps({"model": "\ud800", "inputs": "a"}).encode()).status_code == 400
    assert post_raw(client, json.dumps({"model": "x" * 65, "inputs": "a"}).encode()).status_code == 422
    assert post_raw(client, json.dumps({"model": "evil\n\u0000", "inputs": "a"}).encode()).status_code == 404
    assert "evil" not in client.get("/metrics").text


@pytest.mark.parametrize("header", [{}, {"Content-Type": "text/plain"}, {"Content-Type": "application/x-yaml"}])
def test_a_body_that_is_not_declared_as_json_is_415(client: TestClient, header: dict[str, str]) -> None:
    response = client.post("/predict", content=b'{"inputs": "a"}', headers=header)
    assert response.status_code == 415
    assert "application/json" in response.json()["error"]


def test_a_missing_body_is_422(client: TestClient) -> None:
    response = client.post("/predict", headers=JSON_HEADERS)
    assert response.status_code == 422
    assert response.json()["error"] == "a JSON body is needed"


def test_a_body_beyond_the_limit_is_413_by_its_declared_length(client: TestClient) -> None:
    response = post_raw(client, b'"' + b"a" * (2 * 1024 * 1024) + b'"')
    assert response.status_code == 413
    assert response.json()["error_type"] == "body_too_large"


def test_a_body_beyond_the_limit_is_413_when_its_length_is_not_declared(client: TestClient) -> None:
    """The size of a chunked body is counted as it arrives."""
    chunks = (b"a" * 65_536 for _ in range(40))
    response = client.post("/predict", content=chunks, headers=JSON_HEADERS)
    assert "content-length" not in response.request.headers
    assert response.status_code == 413


def test_a_megabyte_without_a_space_is_refused_as_too_long(client: TestClient) -> None:
    """A very long text without spaces is refused quickly with a 422."""
    for model in ("tiny-tagger", "tiny-classifier", "tiny-translator", "tiny-parser"):
        expect_refused(client, {"model": model, "inputs": "a" * 1_000_000}, 422, "inputs")
    expect_refused(client, {"inputs": "a" * 1_000_000}, 422, "inputs", "/generate")


def test_numbers_that_are_not_json_are_refused_where_they_matter(client: TestClient) -> None:
    """NaN and Infinity, which Python's JSON parser accepts, are refused."""
    body = b'{"model": "tiny-classifier", "inputs": "a", "parameters": {"top_k": NaN}}'
    assert post_raw(client, body).status_code == 422
    assert post_raw(client, b'{"inputs": Infinity}').status_code == 422


def test_the_last_of_duplicate_keys_counts(client: TestClient) -> None:
    body = b'{"model": "nope", "model": "tiny-classifier", "inputs": "", "inputs": "hello"}'
    assert post_raw(client, body).status_code == 200


def test_unknown_paths_and_methods_have_the_same_error_shape(client: TestClient) -> None:
    assert client.get("/nowhere").json()["error_type"] == "not_found"
    assert client.get("/predict").json()["error_type"] == "method_not_allowed"


@pytest.mark.parametrize("text", ODD_TEXTS)
@pytest.mark.parametrize("model", sorted(NAMES.values()))
def test_any_unicode_is_answered_or_refused(client: TestClient, model: str, text: str) -> None:
    path = "/generate" if model == "tiny-generator" else "/predict"
    body: dict[str, Any] = {"model": model, "inputs": text}
    assert post_raw(client, json.dumps(body).encode(), path).status_code in (200, 422)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(inputs=json_values, parameters=json_values, model=st.sampled_from([*NAMES.values(), "x"]))
def test_no_json_makes_the_service_fail(client: TestClient, inputs: Any, parameters: Any, model: str) -> None:
    """Any JSON value in any field is answered or refused with a status below 500."""
    body = json.dumps({"model": model, "inputs": inputs, "parameters": parameters}).encode()
    for path in ROUTES[:2]:
        assert post_raw(client, body, path).status_code < 500


def test_a_refused_request_harms_no_other(client: TestClient) -> None:
    """After all invalid requests above, the service still gives the recorded answer."""
    response = client.post("/predict", json={"model": "tiny-classifier", "inputs": "one two one"})
    assert response.status_code == 200
    assert client.get("/health/ready").status_code == 200
