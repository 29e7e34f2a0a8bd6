"""Errors below `/v1`: always OpenAI's shape, never a fault of the service, with the field and what is allowed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import running_service
from tests.live_server import held_runs, live_server, post
from tests.tiny_bundles import write_tiny_bundle

PATH = "/v1/completions"


def error_of(response: Any) -> dict[str, Any]:
    assert set(response.json()) == {"error"}
    error: dict[str, Any] = response.json()["error"]
    assert list(error) == ["message", "type", "param", "code"]
    return error


@pytest.mark.parametrize(
    ("wishes", "param", "sentence"),
    [
        ({"prompt": 3}, "prompt", "must be text, a list of texts, a list of token ids"),
        ({"prompt": None}, "prompt", "must be text"),
        ({"prompt": {}}, "prompt", "must be text"),
        ({"prompt": []}, "prompt", "the list is empty"),
        ({"prompt": [[]]}, "prompt.0", "the list is empty"),
        ({"prompt": ["a", 3]}, "prompt.1", "must be text"),
        ({"prompt": [5, "a"]}, "prompt.1", "must be a valid integer"),
        ({"prompt": [5, True]}, "prompt.1", "must be a valid integer"),
        ({"prompt": [5, None]}, "prompt.1", "must be a valid integer"),
        ({"prompt": [1.5]}, "prompt.0", "must be a valid integer"),
        ({"prompt": [[5], "a"]}, "prompt.1", "must be a valid"),
        ({"prompt": [5, 10_000]}, "prompt.1", "ids 0 to"),
        ({"prompt": [[5], [5, 10_000]]}, "prompt.1.1", "ids 0 to"),
        ({"prompt": [5, -1]}, "prompt.1", "greater than or equal to 0"),
        ({"prompt": [10**30]}, "prompt.0", "must be less than"),
        ({"prompt": ""}, "prompt", "the text is empty"),
        ({"prompt": ["a", " "]}, "prompt.1", "the text is empty"),
        ({"prompt": ["a", " "], "n": 3, "stream": True}, "prompt.1", "the text is empty"),
        ({"prompt": "a" * 2000}, "prompt", "at most"),
        ({"prompt": [9] * 41}, "prompt", "at most 40"),
        ({"prompt": ["a"] * 129}, "prompt", "at most 128"),
        ({"max_tokens": 31}, "max_tokens", "at most 30 tokens"),
        ({"max_tokens": -1}, "max_tokens", "greater than or equal to 0"),
        ({"max_tokens": 2.5}, "max_tokens", "integer"),
        ({"temperature": 2.1}, "temperature", "less than or equal to 2"),
        ({"temperature": float("nan")}, "temperature", "finite"),
        ({"top_p": -0.1}, "top_p", "greater than or equal to 0"),
        ({"n": 0}, "n", "greater than or equal to 1"),
        ({"n": 17}, "n", "at most 16"),
        ({"best_of": 17}, "best_of", "at most 16"),
        ({"n": 3, "best_of": 2}, "best_of", "at least n, which is 3"),
        ({"best_of": 2, "stream": True}, "best_of", "do not stream"),
        ({"prompt": ["a"] * 128, "n": 2, "stream": True}, "n", "at most 128"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "only for streams"),
        ({"stream": True, "stream_options": {"usage": True}}, "stream_options.usage", "no such field"),
        ({"logprobs": 6}, "logprobs", "less than or equal to 5"),
        ({"logit_bias": {"10000": 1}}, "logit_bias.10000", "ids 0 to"),
        ({"logit_bias": {"a": 1}}, "logit_bias.a", "integer"),
        ({"logit_bias": {"5": 101}}, "logit_bias.5", "less than or equal to 100"),
        ({"stop": list("abcde")}, "stop", "at most 4"),
        ({"stop": ["a", ""]}, "stop.1", "at least 1 character"),
        ({"stop": 3}, "stop", "must be a valid"),
        ({"suffix": "end"}, "suffix", "cannot insert"),
        ({"min_p": 0.1}, "min_p", "not supported"),
        ({"use_beam_search": True}, "use_beam_search", "not supported"),
        ({"seed": 2**64}, "seed", "less than or equal to"),
        ({"temperatur": 1}, "temperatur", "did you mean 'temperature'?"),
        ({"messages": []}, "messages", "no such field"),
        ({"choices": ["a"], "regex": "b"}, "choices", "leave one out"),
        ({"regex": "("}, "regex", ""),
        ({"guided_choice": ["@"]}, "choices.0", "cannot write"),
        ({"model": "tiny-tagger"}, "model", "send it to /predict"),
        ({"model": "x" * 2049}, "model", "at most 2048"),
        ({"state": "x"}, "state", "not a state"),
        ({"state": "x", "session": "y"}, "state", "not from both"),
        ({"prompt": ["a", "b"], "session": "y"}, "prompt", "send one prompt"),
        ({"n": 2, "session": "y"}, "session", "leave n and best_of out"),
        ({"max_tokens": 0, "stream": True}, "max_tokens", "without streaming"),
    ],
)
def test_a_value_that_does_not_fit_is_named_with_what_does(
    client: TestClient, wishes: dict[str, Any], param: str, sentence: str
) -> None:
    content = json.dumps({"prompt": "a", "max_tokens": 2} | wishes)
    response = client.post(PATH, content=content, headers={"Content-Type": "application/json"})
    error = error_of(response)
    assert response.status_code == 400, error
    assert (error["type"], error["param"]) == ("invalid_request_error", param), error
    assert sentence in error["message"]


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"{", {}, 400, "malformed_json"),
        (b"", {}, 400, "invalid_value"),
        (b"\xff\xfe{\x00}\x00", {}, 400, "malformed_json"),
        (b"[" * 5000, {}, 400, "malformed_json"),
        (b" " * 2_097_153, {}, 413, "body_too_large"),
        (b'{"prompt":"a"}', {"Content-Type": "text/plain"}, 415, "unsupported_media_type"),
        (b'{"prompt":"a"}', {"X-Request-Timeout-Ms": "x"}, 400, "invalid_value"),
        (b'{"prompt":"\xff"}', {}, 400, "malformed_json"),
        (b'{"prompt":[' + b"5," * 900_000 + b"5]}", {}, 400, "invalid_value"),
        (b'{"prompt":"","session":"none"}', {}, 404, "unknown_session"),
        (b'{"prompt":"a","model":"tiny-generator","version":"9"}', {}, 404, "model_not_found"),
    ],
)
def test_a_body_that_cannot_be_read(
    client: TestClient, body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    response = client.post(PATH, content=body, headers={"Content-Type": "application/json"} | headers)
    assert (response.status_code, error_of(response)["code"]) == (status, code)
    assert response.headers["x-request-id"]


@pytest.mark.parametrize(
    ("method", "path", "status", "sentence"),
    [
        ("POST", "/v1/chat/completions", 404, "POST /v1/completions continues a prompt"),
        ("POST", "/v1/chat/completions/", 404, "POST /v1/completions continues a prompt"),
        ("POST", "/v1/responses", 404, "POST /v1/completions continues a prompt"),
        ("GET", "/v1/embeddings", 405, "takes POST, not GET"),
        ("POST", "/v1/audio/speech", 404, "this is not served"),
        ("POST", "/v1/completion", 404, "did you mean POST /v1/completions?"),
        ("GET", "/v1/models/nope", 404, "there is no model 'nope'"),
        ("GET", "/v1", 404, "there is nothing at /v1"),
        ("GET", "/v1/completions", 405, "takes POST, not GET"),
        ("DELETE", "/v1/models/tiny-generator", 405, "takes GET, not DELETE"),
        ("PATCH", "/v1/models", 405, "takes GET, not PATCH"),
    ],
)
def test_paths_and_methods_that_are_not_served(
    client: TestClient, method: str, path: str, status: int, sentence: str
) -> None:
    response = client.request(method, path)
    assert response.status_code == status
    assert sentence in error_of(response)["message"]


@pytest.mark.parametrize("path", ["/v1x", "/nothing", "/v10/models"])
def test_elsewhere_errors_keep_their_own_shape(client: TestClient, path: str) -> None:
    assert set(client.get(path).json()) == {"error", "error_type", "request_id"}


def test_an_unknown_name_is_refused_where_there_is_a_choice(tmp_path: Path) -> None:
    """With two language models no other one answers in place of it."""
    for name in ("first", "second"):
        write_tiny_bundle(tmp_path, "generation", name=name)
    with running_service(tmp_path) as client:
        for model in ("third", "http://127.0.0.1"):
            response = client.post(PATH, json={"prompt": "a", "model": model})
            error = error_of(response)
            assert (response.status_code, error["code"], error["param"]) == (404, "model_not_found", "model")
            assert "first, second" in error["message"]
        assert client.post(PATH, json={"prompt": "a", "model": "second"}).json()["model"] == "second"
        assert client.post(PATH, json={"prompt": "a"}).json()["error"]["param"] == "model"


def test_a_url_is_no_name_and_is_answered_by_the_default_model(tmp_path: Path) -> None:
    """`@huggingface/inference` sends the URL as the model; another unknown name is refused all the same."""
    for name in ("first", "second"):
        write_tiny_bundle(tmp_path, "generation", name=name)
    with running_service(tmp_path, default_models="second") as client:
        assert client.post(PATH, json={"prompt": "a", "model": "http://127.0.0.1/"}).json()["model"] == "second"
        assert client.post(PATH, json={"prompt": "a", "model": "third"}).status_code == 404


def test_models_tell_whether_they_are_ready(tmp_path: Path) -> None:
    """A bundle that failed is listed, behind those that answer; asking it is 503, which a retry does not change."""
    write_tiny_bundle(tmp_path, "generation", name="b-whole")
    broken = write_tiny_bundle(tmp_path, "generation", name="a-broken")
    (broken / "step.onnx").write_bytes(b"x")
    with running_service(tmp_path) as client:
        listed = client.get("/v1/models").json()
        assert [(one["id"], one["ready"]) for one in listed["data"]] == [("b-whole", True), ("a-broken", False)]
        assert listed["models"] == ["b-whole", "a-broken"]
        assert client.get("/v1/models/a-broken").json()["ready"] is False
        response = client.post(PATH, json={"prompt": "a", "model": "a-broken"})
    assert (response.status_code, error_of(response)["type"]) == (503, "server_error")
    assert response.headers["x-should-retry"] == "false"


def test_a_busy_session_may_be_tried_again(tiny_models: Path) -> None:
    """409 without `x-should-retry: false`: the other request ends."""
    body = {"prompt": "a", "max_tokens": 2, "session": "one"}
    caller = {"authorization": "Bearer sk-1"}
    with live_server(tiny_models) as server, server.connect() as first, server.connect() as second:
        with held_runs(server, "tiny-generator") as begun:
            first.send(post(PATH, body, **caller))
            begun.wait()
            refused = second.ask(post(PATH, body, **caller))
        assert (refused.status, refused.json["error"]["code"]) == (409, "session_busy")
        assert "x-should-retry" not in refused.headers
        assert first.answer().status == 200


def test_too_many_requests_are_refused_in_this_shape(tiny_models: Path) -> None:
    with live_server(tiny_models, max_open_requests=1) as server, server.connect() as first, server.connect() as second:
        with held_runs(server, "tiny-generator") as begun:
            first.send(post(PATH, {"prompt": "a", "max_tokens": 2}))
            begun.wait()
            refused = second.ask(post(PATH, {"prompt": "a"}))
        assert (refused.status, refused.json["error"]["type"]) == (429, "rate_limit_error")
        assert refused.headers["retry-after"] == "1"
        assert first.answer().status == 200


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
prompts = (
    st.text(max_size=6)
    | st.lists(st.text(max_size=4), max_size=3)
    | st.lists(st.integers(-2, 90), max_size=4)
    | anything
)
bodies = anything | st.fixed_dictionaries(
    {"prompt": prompts},
    optional={
        "model": st.sampled_from(["tiny-generator", "tiny-tagger", "absent"]) | anything,
        "max_tokens": st.integers(-1, 40) | anything,
        "temperature": st.floats(0, 2) | anything,
        "top_p": st.floats(0, 1) | anything,
        "top_k": st.integers(-2, 100) | anything,
        "n": st.integers(-1, 17) | anything,
        "best_of": st.integers(0, 5) | anything,
        "stop": st.text(max_size=2) | st.lists(st.text(max_size=2), max_size=5) | anything,
        "logit_bias": st.dictionaries(st.integers(-1, 90).map(str), st.floats(-101, 101), max_size=3) | anything,
        "logprobs": st.integers(-1, 6) | anything,
        "echo": st.booleans() | anything,
        "seed": st.integers(-(2**65), 2**65) | anything,
        "stream": st.booleans() | anything,
        "stream_options": st.fixed_dictionaries({}, optional={"include_usage": st.booleans()}) | anything,
        "suffix": st.sampled_from(["", "x", None]),
        "regex": st.sampled_from(["[a-z]+", "(", "a{1000}", ""]),
        "choices": st.lists(st.text(max_size=3), max_size=3),
        "bad_words": st.lists(st.text(max_size=3), max_size=3),
        "frequency_penalty": st.floats(-3, 3),
        "repetition_penalty": st.floats(0, 3),
        "state": st.none() | st.text(max_size=8),
        "session": st.sampled_from(["a", "a b", ""]),
        "surplus": anything,
    },
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=bodies)
def test_random_bodies_are_answered_or_refused_in_this_shape(client: TestClient, body: Any) -> None:
    """Never a fault of the service, and never another shape of error."""
    response = client.post(PATH, content=json.dumps(body).encode(), headers={"Content-Type": "application/json"})
    if response.status_code == 200:
        assert response.content
    else:
        assert response.status_code in (400, 404)
        assert error_of(response)["message"]


def test_what_is_answered_is_declared(client: TestClient) -> None:
    """Statuses and content types of every kind of answer are in the OpenAPI document."""
    declared = client.get("/openapi.json").json()["paths"][PATH]["post"]["responses"]
    assert set(declared) >= {"200", "400", "404", "409", "413", "415", "429", "500", "503", "504"}
    assert {"application/json", "text/event-stream"} <= set(declared["200"]["content"])
    for wishes in ({}, {"stream": True}, {"n": 99}, {"session": "x", "prompt": ""}):
        response = client.post(PATH, json={"prompt": "a", "max_tokens": 2} | wishes)
        media_type = response.headers["content-type"].partition(";")[0]
        assert media_type in declared[str(response.status_code)]["content"]
