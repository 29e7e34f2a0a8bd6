"""`POST /`, `/invocations`, `/tokenize`, `/info`, `/health` and `/ping`, as text-generation-inference answers them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.errors import InferenceFailed
from service.inference.runtime.ort_runner import OrtRunner
from tests.conftest import running_service
from tests.tiny_bundles import write_tiny_bundle

PROMPT = "Hello "
COMPATIBLE = ("/", "/invocations", "/models/tiny-generator")
SAMPLING = {"max_new_tokens": 5, "do_sample": True, "seed": 11}
#: As the `text-generation` client sends a request.
EVERYTHING = {
    "do_sample": False, "max_new_tokens": 3, "repetition_penalty": None, "frequency_penalty": None,
    "return_full_text": False, "stop": [], "seed": None, "temperature": None, "top_k": None, "top_p": None,
    "truncate": None, "typical_p": None, "best_of": None, "watermark": False, "details": True,
    "decoder_input_details": False, "top_n_tokens": None, "grammar": None,
}  # fmt: skip


def answered(client: TestClient, path: str = "/generate", stream: Any = False, **parameters: Any) -> Any:
    response = client.post(path, json={"inputs": PROMPT, "parameters": parameters, "stream": stream})
    assert response.status_code == 200, response.text
    return response.json()


def events(client: TestClient, path: str, **parameters: Any) -> list[dict[str, Any]]:
    response = client.post(path, json={"inputs": PROMPT, "parameters": parameters, "stream": True})
    assert response.headers["content-type"].startswith("text/event-stream"), response.text
    frames = response.text.strip().split("\n\n")
    return [json.loads(frame.removeprefix("data:")) for frame in frames]


@pytest.mark.parametrize("path", COMPATIBLE)
def test_the_answer_is_a_list_of_one_or_events(client: TestClient, path: str) -> None:
    """The text is that of /generate, whole and streamed; null for a parameter or for `stream` is as if left out."""
    expected = answered(client, **EVERYTHING)
    assert answered(client, path, **EVERYTHING) == answered(client, path, None, **EVERYTHING) == [expected]
    last = events(client, path, **EVERYTHING)[-1]
    assert last["generated_text"] == expected["generated_text"]
    assert answered(client, path, **dict.fromkeys(EVERYTHING) | {"max_new_tokens": 3}) == [
        {"generated_text": expected["generated_text"]}
    ]


def test_generate_streams_on_request_and_generate_stream_always_does(client: TestClient) -> None:
    whole = events(client, "/generate", **SAMPLING)
    assert whole == events(client, "/generate_stream", **SAMPLING)
    body = {"inputs": PROMPT, "parameters": SAMPLING, "stream": False}
    assert client.post("/generate_stream", json=body).headers["content-type"].startswith("text/event-stream")


def test_sizes_and_times_are_in_the_headers(client: TestClient) -> None:
    """Whole milliseconds, as the clients of TGI parse them; the parts are no more than the whole."""
    headers = client.post("/", json={"inputs": PROMPT, "parameters": {"max_new_tokens": 4}}).headers
    sizes = {name: headers[f"x-{name}"] for name in ("compute-type", "compute-characters", "prompt-tokens")}
    assert sizes == {"compute-type": "cpu", "compute-characters": str(len(PROMPT)), "prompt-tokens": str(len(PROMPT))}
    assert headers["x-generated-tokens"] == "4"
    parts = [int(headers[f"x-{name}-time"]) for name in ("validation", "queue", "inference")]
    assert sum(parts) <= int(headers["x-total-time"]) + len(parts), "each is rounded"
    assert 4 * int(headers["x-time-per-token"]) <= parts[2] + 4
    assert 0 < float(headers["x-compute-time"]) * 1000 < int(headers["x-total-time"]) + 1
    with client.stream("POST", "/", json={"inputs": PROMPT, "stream": True}) as stream:
        assert stream.headers["x-compute-characters"] == str(len(PROMPT))


@pytest.mark.parametrize("seed", range(4))
def test_the_best_text_is_the_most_likely_of_consecutive_seeds(client: TestClient, seed: int) -> None:
    """Each of the texts is that of its own seed, and they are ordered by their mean log-probability."""
    sampling = {"max_new_tokens": 6, "temperature": 1.5, "details": True}
    answer = answered(client, best_of=4, seed=seed, **sampling)
    alone = [answered(client, seed=seed + number, **sampling) for number in range(4)]
    ranked = sorted(alone, key=lambda one: -mean_log_probability(one["details"]))
    others = answer["details"].pop("best_of_sequences")
    assert answer == ranked[0]
    assert others == [{**one["details"], "generated_text": one["generated_text"]} for one in ranked[1:]]
    plain = answered(client, best_of=4, seed=seed, max_new_tokens=6, temperature=1.5)
    assert plain == {"generated_text": answer["generated_text"]}


def mean_log_probability(details: dict[str, Any]) -> float:
    return sum(token["logprob"] for token in details["tokens"]) / len(details["tokens"])


def test_the_state_is_that_of_the_best_text(client: TestClient) -> None:
    """It continues the text that was returned, as if uninterrupted; so does a session."""
    body: dict[str, Any] = {"inputs": PROMPT, "parameters": {**SAMPLING, "best_of": 3, "details": True}}
    (best,) = client.post("/", json={**body, "return_state": True}).json()
    seed = best["details"]["seed"]
    whole = answered(client, max_new_tokens=10, do_sample=True, seed=seed)["generated_text"]
    rest = {"inputs": "", "parameters": {"max_new_tokens": 5, "do_sample": True}}
    (continued,) = client.post("/", json={**rest, "state": best["state"]}).json()
    assert best["generated_text"] + continued["generated_text"] == whole
    (kept,) = client.post("/", json={**body, "session": "best"}).json()
    (continued,) = client.post("/", json={**rest, "session": kept["session"]}).json()
    assert kept["generated_text"] + continued["generated_text"] == whole


@pytest.mark.parametrize("path", ["/", "/generate"])
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"parameters": {"best_of": 2}}, "parameters.best_of"),
        ({"parameters": {"best_of": 2, "temperature": 1.0}}, "parameters.best_of"),
        ({"parameters": {"best_of": 17, "do_sample": True}}, "parameters.best_of"),
        ({"parameters": {"best_of": 0}}, "parameters.best_of"),
        ({"parameters": {"best_of": 10**30, "do_sample": True}}, "parameters.best_of"),
        ({"parameters": {"best_of": 2, "do_sample": True}, "stream": True}, "parameters.best_of"),
        ({"parameters": {"best_of": 2, "do_sample": True}, "n": 2}, "n"),
        ({"parameters": {"watermark": True}}, "parameters.watermark"),
        ({"parameters": {"grammar": {"type": "json", "value": "a"}}}, "parameters.grammar.type"),
        ({"parameters": {"adapter_id": "mine"}}, "parameters.adapter_id"),
        ({"stream": "yes"}, "stream"),
        ({"stream": 1}, "stream"),
        ({"inputs": ["a", "b"]}, "inputs"),
        ({"model": "tiny-tagger"}, "model"),
        ({"options": {}}, "options"),
    ],
)
def test_what_is_refused_has_the_type_of_the_protocol(
    client: TestClient, path: str, body: dict[str, Any], field: str
) -> None:
    response = client.post(path, json={"inputs": PROMPT, **body})
    assert (response.status_code, response.json()["error_type"]) == (422, "validation")
    assert [one["field"] for one in response.json()["detail"]] == [field]
    assert response.json()["error"].startswith(f"{field}: ")


def test_the_path_and_the_body_name_one_model(client: TestClient) -> None:
    body = {"inputs": PROMPT, "parameters": {"max_new_tokens": 2}}
    assert client.post(COMPATIBLE[2], json={**body, "model": "tiny-generator"}).status_code == 200
    refused = client.post(COMPATIBLE[2], json={**body, "model": "tiny-tagger"})
    assert (refused.status_code, refused.json()["detail"][0]["field"]) == (422, "model")


@pytest.mark.parametrize("path", [*COMPATIBLE, "/generate_stream"])
def test_a_stream_that_is_cut_says_that_the_text_is_incomplete(
    client: TestClient, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the type for which TGI's clients have an exception, with ours beside it; /generate_stream has ours alone."""
    monkeypatch.setattr(OrtRunner, "run", slowly(OrtRunner.run))
    body = {"inputs": PROMPT, "parameters": {"max_new_tokens": 30}, "stream": True}
    response = client.post(path, json=body, headers={"X-Request-Timeout-Ms": "1"})
    last = json.loads(response.text.strip().split("\n\n")[-1].removeprefix("data:"))
    if path == "/generate_stream":
        assert (last["error_type"], "cause" in last) == ("deadline_exceeded", False)
    else:
        assert (last["error_type"], last["cause"]) == ("incomplete_generation", "deadline_exceeded")


def slowly(run: Callable[..., Any]) -> Callable[..., Any]:
    """The same run, taking at least ten milliseconds."""

    def slow_run(*arguments: Any) -> Any:
        time.sleep(0.01)
        return run(*arguments)

    return slow_run


@pytest.mark.parametrize("path", COMPATIBLE)
def test_a_model_that_fails_is_a_generation_error(
    client: TestClient, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole with its status, streamed as the last event."""

    def fail(*_: Any) -> Any:
        raise InferenceFailed("graph 'prompt' failed")

    monkeypatch.setattr(OrtRunner, "run", fail)
    whole = client.post(path, json={"inputs": PROMPT})
    assert (whole.status_code, whole.json()["error_type"]) == (424, "generation")
    assert [event["error_type"] for event in events(client, path)] == ["generation"]


def test_tokenize_gives_ids_and_places(client: TestClient) -> None:
    """Places are in code points and cut the token out of the text, also beside characters that are not known."""
    text = "He\U0001f600llo"
    tokens = client.post("/tokenize", json={"inputs": text, "parameters": None, "add_special_tokens": True}).json()
    assert [text[token["start"] : token["stop"]] for token in tokens] == [token["text"] for token in tokens]
    assert "".join(token["text"] for token in tokens) == text
    details = answered(client, max_new_tokens=1, details=True, decoder_input_details=True)["details"]
    tokens = client.post("/tokenize", json={"inputs": PROMPT, "model": "tiny-generator"}).json()
    assert [token["id"] for token in tokens] == [token["id"] for token in details["prefill"]]
    assert client.post("/tokenize", json={"inputs": ""}).json() == []


def test_tokenize_reads_more_than_the_model_and_less_than_a_body(client: TestClient) -> None:
    assert len(client.post("/tokenize", json={"inputs": "a" * 1000}).json()) == 1000
    refused = client.post("/tokenize", json={"inputs": "a" * 100_000})
    assert (refused.status_code, refused.json()["detail"][0]["field"]) == (422, "inputs")
    assert "UNROLL_MAX_TOKENS_PER_REQUEST" in refused.json()["error"]


def test_info_names_the_model_and_its_limits(client: TestClient) -> None:
    found = client.get("/info").json()
    assert (found["model_id"], found["model_pipeline_tag"]) == ("tiny-generator", "text-generation")
    assert (found["max_input_tokens"], found["max_total_tokens"], found["max_best_of"]) == (40, 70, 16)
    assert found["model_device_type"] == "cpu"
    assert client.get("/models/tiny-tagger/info").json()["model_pipeline_tag"] == "token-classification"
    absent = client.get("/models/absent/info")
    assert (absent.status_code, absent.json()["error_type"]) == (404, "unknown_model")


@pytest.mark.parametrize("path", ["/health", "/ping", "/models/tiny-generator/health"])
def test_health_has_no_body(client: TestClient, path: str) -> None:
    response = client.get(path)
    assert (response.status_code, response.content) == (200, b"")


def test_health_is_503_with_the_reason(tmp_path: Path) -> None:
    """Of the service, and of each model on its own."""
    write_tiny_bundle(tmp_path, "generation")
    (write_tiny_bundle(tmp_path, "generation", "broken") / "step.onnx").write_bytes(b"x")
    with running_service(tmp_path) as client:
        for path in ("/health", "/ping", "/models/broken/health"):
            response = client.get(path)
            assert (response.status_code, response.json()["error_type"]) == (503, "healthcheck")
            assert "broken version 1 failed" in response.json()["error"]
        assert client.get("/models/tiny-generator/health").status_code == 200
        assert client.get("/models/absent/health").status_code == 404


def test_a_request_without_a_model_goes_to_the_default(tmp_path: Path) -> None:
    """To the first that can answer on the route; without the setting two models are a choice, which is named."""
    for name in ("alpha", "beta"):
        write_tiny_bundle(tmp_path, "generation", name)
    write_tiny_bundle(tmp_path, "tagging", "tags")
    write_tiny_bundle(tmp_path, "classification", "labels")
    with running_service(tmp_path) as client:
        refused = client.post("/", json={"inputs": PROMPT})
        assert (refused.status_code, refused.json()["detail"][0]["field"]) == (422, "model")
        assert refused.json()["error"].endswith("there are: alpha, beta")
        assert client.get("/info").status_code == 422
    with running_service(tmp_path, default_models="tags, beta") as client:
        assert client.post("/", json={"inputs": PROMPT}).status_code == 200
        assert client.get("/info").json()["model_id"] == "beta"
        assert client.post("/predict", json={"inputs": "hello"}).json()["model"] == "tags"
    with running_service(tmp_path, default_models="gamma") as client:
        assert "UNROLL_DEFAULT_MODELS names gamma" in client.post("/", json={"inputs": PROMPT}).json()["error"]


def test_no_other_model_takes_the_place_of_a_default_that_failed(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path, "generation")
    (write_tiny_bundle(tmp_path, "generation", "broken") / "step.onnx").write_bytes(b"x")
    with running_service(tmp_path, default_models="broken", ready="any") as client:
        refused = client.post("/", json={"inputs": PROMPT})
        assert (refused.status_code, refused.json()["error_type"]) == (503, "not_ready")
        assert "retry-after" in refused.headers
    with running_service(tmp_path, default_models="broken,tiny-generator", ready="any") as client:
        assert client.post("/", json={"inputs": PROMPT}).status_code == 200


def test_the_page_is_still_at_the_root(client: TestClient) -> None:
    assert client.get("/", headers={"Accept": "text/html"}).headers["content-type"].startswith("text/html")


def test_requests_are_counted_as_those_of_the_protocol(client: TestClient) -> None:
    client.post("/", json={"inputs": PROMPT, "parameters": {"max_new_tokens": 1}})
    client.post("/models/tiny-tagger", json={"inputs": "hello"})
    text = client.get("/metrics").text
    for name in ("text-generation-inference", "hugging-face-tasks"):
        assert f'unroll_protocol_requests_total{{outcome="ok",protocol="{name}"}}' in text
