"""`POST /v1/completions`: prompts in four forms, choices, usage, log-probabilities, streams, and states of ours."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.bundle.load import load_bundle
from tests.conftest import wait_until
from tests.live_server import LiveServer, held_runs, live_server, post

PATH = "/v1/completions"


def complete(client: TestClient, **wishes: Any) -> dict[str, Any]:
    response = client.post(PATH, json={"prompt": "Hello ", "max_tokens": 8, "seed": 3} | wishes)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def texts(client: TestClient, **wishes: Any) -> list[str]:
    return [choice["text"] for choice in complete(client, **wishes)["choices"]]


def chunks(client: TestClient, **wishes: Any) -> list[dict[str, Any]]:
    response = client.post(PATH, json={"prompt": "Hello ", "max_tokens": 8, "seed": 3, "stream": True} | wishes)
    assert response.headers["content-type"].startswith("text/event-stream"), response.text
    *frames, done, nothing = response.text.split("\n\n")
    assert (done, nothing) == ("data: [DONE]", "")
    return [json.loads(frame.removeprefix("data: ")) for frame in frames]


def text_of(streamed: list[dict[str, Any]], index: int = 0) -> str:
    return "".join(one["text"] for chunk in streamed for one in chunk["choices"] if one["index"] == index)


def ids_of(tiny_models: Any, text: str) -> list[int]:
    return load_bundle(tiny_models / "tiny-generator" / "1").tokenizers["text"].encode(text)


def test_greedy_texts_are_those_of_generate(client: TestClient) -> None:
    """Both protocols answer through the same engine."""
    parameters = {"max_new_tokens": 8}
    other = client.post("/generate", json={"inputs": "Hello ", "parameters": parameters}).json()
    assert texts(client, temperature=0) == [other["generated_text"]]


def test_sampled_texts_are_those_of_generate(client: TestClient) -> None:
    parameters = {"max_new_tokens": 8, "do_sample": True, "seed": 3, "top_p": 0.9}
    other = client.post("/generate", json={"inputs": "Hello ", "parameters": parameters}).json()
    assert texts(client, top_p=0.9) == [other["generated_text"]]


def test_token_ids_are_the_same_prompt(client: TestClient, tiny_models: Any) -> None:
    ids = ids_of(tiny_models, "Hello ")
    assert texts(client, prompt=ids) == texts(client) == texts(client, prompt=[ids, [9]])[:1]
    assert complete(client, prompt=ids, echo=True)["choices"][0]["text"].startswith("Hello ")


def test_choices_come_in_the_order_of_prompts_and_usage_counts_each_prompt_once(client: TestClient) -> None:
    answer = complete(client, prompt=["Hello ", "a"], n=2, temperature=1.5)
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
    both = [*texts(client, n=2, temperature=1.5), *texts(client, prompt="a", n=2, temperature=1.5)]
    assert [choice["text"] for choice in answer["choices"]] == both
    assert answer["usage"]["prompt_tokens"] == 7
    assert answer["usage"]["total_tokens"] == 7 + answer["usage"]["completion_tokens"]


def test_best_of_returns_the_likeliest_of_the_texts_that_n_would(client: TestClient) -> None:
    """By mean log-probability; and all texts that were made are paid for."""
    made = complete(client, n=6, logprobs=0, temperature=1.5)

    def mean(choice: dict[str, Any]) -> float:
        scores = choice["logprobs"]["token_logprobs"]
        return float(sum(scores) / len(scores))

    expected = [choice["text"] for choice in sorted(made["choices"], key=mean, reverse=True)]
    best = complete(client, n=2, best_of=6, temperature=1.5)
    assert [choice["text"] for choice in best["choices"]] == expected[:2]
    assert all(choice["logprobs"] is None for choice in best["choices"])
    assert best["usage"] == made["usage"]


def test_a_stop_string_ends_a_text_and_is_left_out_unless_it_is_wanted(client: TestClient) -> None:
    (whole,) = texts(client, temperature=0)
    stop = whole[3:5]
    cut = whole.index(stop)
    for answer in (complete(client, temperature=0, stop=stop), complete(client, temperature=0, stop=[stop, "@@"])):
        assert (answer["choices"][0]["text"], answer["choices"][0]["finish_reason"]) == (whole[:cut], "stop")
    assert texts(client, temperature=0, stop=stop, include_stop_str_in_output=True) == [whole[: cut + len(stop)]]
    assert text_of(chunks(client, temperature=0, stop=stop)) == whole[:cut]


def test_a_text_is_scored_by_echoing_it(client: TestClient) -> None:
    """With max_tokens 0 nothing is written, and each token but the first has its log-probability and rivals."""
    answer = complete(client, prompt="Hello:", max_tokens=0, echo=True, logprobs=3)
    (choice,) = answer["choices"]
    scores = choice["logprobs"]
    assert (choice["text"], choice["finish_reason"]) == ("Hello:", "length")
    assert scores["tokens"] == [*"Hello", "<unk>"]
    assert scores["text_offset"] == [0, 1, 2, 3, 4, 5]
    assert (scores["token_logprobs"][0], scores["top_logprobs"][0]) == (None, None)
    assert all(value < 0 for value in scores["token_logprobs"][1:])
    assert all(3 <= len(top) <= 4 for top in scores["top_logprobs"][1:])
    assert answer["usage"] == {"prompt_tokens": 6, "completion_tokens": 0, "total_tokens": 6}


def test_a_prompt_scores_what_a_text_of_the_same_tokens_does(client: TestClient) -> None:
    """The log-probabilities of a greedy continuation are those of the same text given as a prompt."""
    (made,) = complete(client, temperature=0, logprobs=0)["choices"]
    (given,) = complete(client, prompt="Hello " + made["text"], max_tokens=0, echo=True, logprobs=0)["choices"]
    before = len("Hello ")
    assert given["logprobs"]["token_logprobs"][before:] == pytest.approx(made["logprobs"]["token_logprobs"], abs=0.05)


def test_a_stream_gives_what_the_whole_answer_has(client: TestClient) -> None:
    """Text, reasons, log-probabilities, the echoed prompt, and usage in a chunk of its own."""
    wishes = {"prompt": ["Hello ", "a"], "n": 2, "logprobs": 1, "echo": True, "temperature": 1.2}
    whole = complete(client, **wishes)
    streamed = chunks(client, stream_options={"include_usage": True}, **wishes)
    for choice in whole["choices"]:
        parts = [one for chunk in streamed for one in chunk["choices"] if one["index"] == choice["index"]]
        assert "".join(part["text"] for part in parts) == choice["text"]
        for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset"):
            assert [one for part in parts for one in part["logprobs"][name]] == choice["logprobs"][name]
        assert [part["finish_reason"] for part in parts] == [None] * (len(parts) - 1) + [choice["finish_reason"]]
    assert streamed[-1]["choices"] == []
    assert streamed[-1]["usage"] == whole["usage"]
    assert {chunk["usage"] is None for chunk in streamed[:-1]} == {True}
    assert len({chunk["id"] for chunk in streamed}) == 1


def test_usage_of_every_chunk_if_asked(client: TestClient) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    counts = [chunk["usage"]["completion_tokens"] for chunk in chunks(client, stream_options=options)]
    assert counts == sorted(counts)
    assert counts[0] > 0


def test_without_max_tokens_sixteen_are_written(client: TestClient) -> None:
    answer = complete(client, max_tokens=None, ignore_eos=True)
    assert answer["usage"]["completion_tokens"] == 16


def test_a_biased_token_is_forced_or_never_chosen(client: TestClient, tiny_models: Any) -> None:
    (wanted,) = ids_of(tiny_models, "z")
    assert texts(client, logit_bias={str(wanted): 100}) == ["z" * 8]
    assert "z" not in texts(client, logit_bias={str(wanted): -100}, max_tokens=30)[0]


@pytest.mark.parametrize("name", ["choices", "guided_choice"])
def test_a_text_can_be_one_of_some_choices(client: TestClient, name: str) -> None:
    """However long they are: the default of 16 tokens does not cut them."""
    choices = ["yes, certainly and always", "no"]
    assert texts(client, max_tokens=None, temperature=0, **{name: choices})[0] in choices


def test_bad_words_and_expressions_hold(client: TestClient) -> None:
    (free,) = texts(client, temperature=0)
    (held,) = texts(client, temperature=0, bad_words=[free[1]])
    assert free[1] not in held
    assert texts(client, temperature=0, regex="[0-9]{8}")[0].isdigit()


@pytest.mark.parametrize("model", ["gpt-3.5-turbo-instruct", "http://127.0.0.1:8080", "", None])
def test_the_only_language_model_answers_for_names_that_are_not_known(client: TestClient, model: Any) -> None:
    """Clients send the name of a model elsewhere, or the URL; the answer says who wrote it."""
    assert complete(client, model=model)["model"] == "tiny-generator"


def test_a_text_continues_from_a_state_as_if_it_had_never_stopped(client: TestClient) -> None:
    (whole,) = texts(client, max_tokens=16)
    first = complete(client, return_state=True)["choices"][0]
    (rest,) = texts(client, prompt="", state=first["state"], seed=None)
    assert first["text"] + rest == whole


def test_the_best_of_several_texts_can_be_continued(client: TestClient) -> None:
    """States come in the order of the choices."""
    best = complete(client, n=2, best_of=5, temperature=1.5, return_state=True)["choices"]
    made = complete(client, n=5, temperature=1.5, return_state=True)["choices"]
    state_of = {choice["text"]: choice["state"] for choice in made}

    def rest(state: str) -> list[str]:
        return texts(client, prompt="", state=state, seed=None, temperature=1.5)

    assert [rest(choice["state"]) for choice in best] == [rest(state_of[choice["text"]]) for choice in best]


def test_a_session_continues_a_text_whole_or_streamed(client: TestClient) -> None:
    """The service keeps the state under a name, for callers with an Authorization header."""
    (whole,) = texts(client, max_tokens=24)
    client.headers["Authorization"] = "Bearer sk-session"
    try:
        first = complete(client, session="a-chat")
        second = chunks(client, prompt="", seed=None, session="a-chat")
        third = complete(client, prompt="", seed=None, session="a-chat")
    finally:
        del client.headers["Authorization"]
    assert (first["session"], second[-1]["session"]) == ("a-chat", "a-chat")
    assert first["choices"][0]["text"] + text_of(second) + third["choices"][0]["text"] == whole


def test_a_stream_has_the_state_of_each_choice_in_its_last_chunk(client: TestClient) -> None:
    streamed = chunks(client, n=2, return_state=True)
    states = {one["index"]: one["state"] for chunk in streamed for one in chunk["choices"] if one.get("state")}
    assert set(states) == {0, 1}


def test_a_deadline_ends_a_stream_of_several_texts_with_one_error(server: LiveServer) -> None:
    """All of them expire together; the client is told once, and nothing is left behind."""
    body = {"prompt": ["a", "b"], "n": 3, "max_tokens": 30, "stream": True}
    with held_runs(server, "tiny-generator"), server.connect() as connection:
        answer = connection.ask(post(PATH, body, x_request_timeout_ms="50"))
        error, done, _ = answer.body.split(b"\n\n")
        assert (answer.status, done) == (200, b"data: [DONE]")
        assert json.loads(error.removeprefix(b"data: "))["error"]["code"] == "deadline_exceeded"
    wait_until(lambda: server.engine("tiny-generator").num_pending == 0)


@pytest.fixture(scope="module")
def server(tiny_models: Any) -> Iterator[LiveServer]:
    with live_server(tiny_models) as started:
        yield started


def test_a_client_that_leaves_frees_every_row_of_its_streams(server: LiveServer) -> None:
    """Of all prompts and texts, whichever was being written."""
    body = {"prompt": ["a", "b", "c"], "n": 4, "max_tokens": 30, "stream": True}
    for _ in range(3):
        with server.connect() as connection:
            connection.send(post(PATH, body))
            connection.socket.recv(64)
    wait_until(lambda: server.engine("tiny-generator").num_pending == 0)
    wait_until(lambda: server.app.num_open == 0)
    with server.connect() as connection:
        assert connection.ask(post(PATH, {"prompt": "a"})).status == 200
