"""`/generate` and `/generate_stream` follow the API of text-generation-inference."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.bundle.load import load_bundle
from service.inference.runtime.ort_runner import OrtRunner
from service.tasks.recorded import differences
from tests.conftest import running_service
from tests.tiny_bundles import write_tiny_bundle


def generate(client: TestClient, prompt: str, **parameters: Any) -> dict[str, Any]:
    response = client.post("/generate", json={"inputs": prompt, "parameters": parameters})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def stream(client: TestClient, prompt: str, **parameters: Any) -> Iterator[dict[str, Any]]:
    body = {"inputs": prompt, "parameters": parameters}
    with client.stream("POST", "/generate_stream", json=body) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        frames = response.read().decode().split("\n\n")
    assert frames.pop() == "", "the last frame ends with an empty line, and nothing follows"
    assert all(frame.startswith("data:{") for frame in frames)
    yield from (json.loads(frame.removeprefix("data:")) for frame in frames)


def test_recorded_examples_are_answered_over_http(client: TestClient, tiny_models: Path) -> None:
    for example in load_bundle(tiny_models / "tiny-generator" / "1").examples:
        assert differences(example.answer, generate(client, example.inputs, **example.parameters), 1e-5) == []


def test_the_same_seed_gives_the_same_text_and_another_does_not(client: TestClient) -> None:
    texts = [
        generate(client, "a", do_sample=True, seed=seed, max_new_tokens=30)["generated_text"] for seed in (7, 7, 8)
    ]
    assert texts[0] == texts[1] != texts[2]


def test_the_same_seed_gives_the_same_text_in_any_company(client: TestClient) -> None:
    """Concurrent streams in one running batch get the same seeded text as alone."""
    prompts = ["a", "Hello world, ", "The", "x" * 30, "To be, or not to be"] * 4

    def ask(number: int) -> str:
        wishes = {"do_sample": True, "seed": number, "max_new_tokens": 5 + number}
        return str(generate(client, prompts[number], **wishes)["generated_text"])

    alone = [ask(number) for number in range(len(prompts))]
    with ThreadPoolExecutor(10) as pool:
        together = list(pool.map(ask, range(len(prompts))))
    assert together == alone


def test_without_parameters_the_text_is_sampled(client: TestClient) -> None:
    """Requests without `parameters` are sampled, while empty `parameters` decode greedily."""
    greedy = {
        client.post("/generate", json={"inputs": "a", "parameters": {}}).json()["generated_text"] for _ in range(3)
    }
    sampled = {client.post("/generate", json={"inputs": "a"}).json()["generated_text"] for _ in range(4)}
    assert len(greedy) == 1
    assert len(sampled) > 1


def test_a_stream_has_one_frame_per_token_and_the_text_in_the_last(client: TestClient) -> None:
    wishes = {"do_sample": True, "seed": 5, "max_new_tokens": 12}
    frames = list(stream(client, "ROMEO:", **wishes))
    text = generate(client, "ROMEO:", **wishes)["generated_text"]
    assert [frame["index"] for frame in frames] == list(range(1, 13))
    assert all(set(frame) == {"index", "token", "generated_text", "details"} for frame in frames)
    assert all(frame["generated_text"] is None and frame["details"] is None for frame in frames[:-1])
    assert frames[-1]["generated_text"] == text == "".join(frame["token"]["text"] for frame in frames)
    assert set(frames[0]["token"]) == {"id", "text", "logprob", "special"}


def test_the_last_frame_has_details_if_asked(client: TestClient) -> None:
    *_, last = stream(client, "abc", do_sample=True, seed=5, max_new_tokens=4, details=True)
    assert last["details"] == {"finish_reason": "length", "generated_tokens": 4, "seed": 5, "input_length": 3}


def test_top_tokens_come_only_if_asked(client: TestClient) -> None:
    frames = list(stream(client, "abc", max_new_tokens=2, top_n_tokens=3))
    assert [len(frame["top_tokens"]) for frame in frames] == [3, 3]


def test_more_streams_than_slots_all_end(tmp_path: Path) -> None:
    """More streams than slots all finish, because streams wait for a free slot."""
    write_tiny_bundle(tmp_path, "generation")
    with running_service(tmp_path, max_live_streams=2, max_batch_items=2) as client, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: generate(client, "a" * (1 + n), max_new_tokens=10), range(8)))
        assert [len(answer["generated_text"]) for answer in answers] == [10] * 8
        assert 'unroll_live_streams{model="tiny-generator"} 0.0' in client.get("/metrics").text


def test_a_predict_model_is_named_with_its_route(client: TestClient) -> None:
    response = client.post("/generate", json={"model": "tiny-tagger", "inputs": "a"})
    assert response.status_code == 422
    assert "/predict" in response.json()["error"]


def slowly(run: Callable[..., Any]) -> Callable[..., Any]:
    """The same run, taking at least ten milliseconds."""

    def slow_run(*arguments: Any) -> Any:
        time.sleep(0.01)
        return run(*arguments)

    return slow_run


@pytest.mark.parametrize("path", ["/generate", "/generate_stream"])
def test_a_waiting_stream_beyond_its_deadline_ends_with_the_right_error(
    client: TestClient, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that waits past its deadline gets a 504, or an error event if it is a stream."""
    body = {"inputs": "abc", "parameters": {"max_new_tokens": 30, "do_sample": True, "seed": 5}}
    monkeypatch.setattr(OrtRunner, "run", slowly(OrtRunner.run))
    response = client.post(path, json=body, headers={"X-Request-Timeout-Ms": "1"})
    if path == "/generate":
        assert (response.status_code, response.json()["error_type"]) == (504, "deadline_exceeded")
    else:
        last = json.loads(response.text.strip().split("\n\n")[-1].removeprefix("data:"))
        assert last["error_type"] == "deadline_exceeded"
