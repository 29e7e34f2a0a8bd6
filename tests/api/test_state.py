"""State over HTTP: another replica resumes the same text, and state is bound to its owner."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.inference.state.session_names import SessionNames
from tests.conftest import running_service
from tests.tiny_bundles import write_tiny_bundle

KEY = "a secret of more than sixteen characters"
SAMPLED = {"do_sample": True, "temperature": 1.3, "seed": 11, "repetition_penalty": 1.2, "top_k": 40}
GREEDY = {"do_sample": False}
ADA = {"Authorization": "Bearer ada"}


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TestClient, TestClient]]:
    """Two services with the same bundle and the same state key."""
    models = tmp_path_factory.mktemp("state") / "models"
    write_tiny_bundle(models, "generation")
    with running_service(models, state_keys=KEY) as here, running_service(models, state_keys=KEY) as there:
        yield here, there


def generate(client: TestClient, inputs: str, headers: dict[str, str] | None = None, **more: Any) -> Any:
    response = client.post("/generate", json={"inputs": inputs, **more}, headers=headers)
    assert response.status_code == 200, response.text
    return response.json()


def refusal(client: TestClient, status: int, headers: dict[str, str] | None = None, **body: Any) -> Any:
    response = client.post("/generate", json=body, headers=headers)
    assert response.status_code == status, response.text
    return response.json()


@pytest.mark.parametrize("parameters", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.parametrize("stopped_after", [1, 7, 19])
def test_a_text_goes_on_at_another_replica_as_if_it_had_never_stopped(
    replicas: tuple[TestClient, TestClient], parameters: dict[str, Any], stopped_after: int
) -> None:
    here, there = replicas
    whole = generate(here, "the cat", parameters={**parameters, "max_new_tokens": 20})
    first = generate(here, "the cat", parameters={**parameters, "max_new_tokens": stopped_after}, return_state=True)
    rest = generate(there, "", parameters={**parameters, "max_new_tokens": 20 - stopped_after}, state=first["state"])
    assert first["generated_text"] + rest["generated_text"] == whole["generated_text"]


def test_a_stream_hands_its_state_over_with_its_last_event(replicas: tuple[TestClient, TestClient]) -> None:
    here, there = replicas
    body = {"inputs": "the cat", "parameters": {**SAMPLED, "max_new_tokens": 5}, "return_state": True}
    events = [json.loads(line[5:]) for line in here.post("/generate_stream", json=body).text.split("\n\n") if line]
    assert [("state" in event) for event in events] == [False] * 4 + [True]
    rest = generate(there, "", parameters={**SAMPLED, "max_new_tokens": 15}, state=events[-1]["state"])
    whole = generate(here, "the cat", parameters={**SAMPLED, "max_new_tokens": 20})
    assert events[-1]["generated_text"] + rest["generated_text"] == whole["generated_text"]


def test_several_continuations_are_those_that_single_requests_give(replicas: tuple[TestClient, TestClient]) -> None:
    """Continuation i equals a single request with the seed plus i, and has its own state."""
    here, there = replicas
    parameters = {"do_sample": True, "max_new_tokens": 8}
    forked = generate(here, "the cat", parameters={**parameters, "seed": 40}, n=3, return_state=True)
    alone = [generate(here, "the cat", parameters={**parameters, "seed": 40 + i}) for i in range(3)]
    texts = [continuation["generated_text"] for continuation in forked["continuations"]]
    assert texts == [answer["generated_text"] for answer in alone]
    assert forked["generated_text"] == texts[0]
    rest = generate(there, "", parameters=parameters, state=forked["continuations"][2]["state"])
    whole = generate(here, "the cat", parameters={"do_sample": True, "max_new_tokens": 16, "seed": 42})
    assert texts[2] + rest["generated_text"] == whole["generated_text"]


def test_a_session_goes_on_from_request_to_request(replicas: tuple[TestClient, TestClient]) -> None:
    here, _ = replicas
    parameters = {**SAMPLED, "max_new_tokens": 5}
    first = generate(here, "the cat", ADA, parameters=parameters, session="s1")
    assert ("state" in first, first["session"]) == (False, "s1")
    texts = [first["generated_text"]]
    texts += [generate(here, "", ADA, parameters=parameters, session="s1")["generated_text"] for _ in range(3)]
    whole = generate(here, "the cat", parameters={**SAMPLED, "max_new_tokens": 20})
    assert "".join(texts) == whole["generated_text"]
    assert "\nunroll_sessions 0.0\n" not in here.get("/metrics").text


def test_two_requests_cannot_share_a_session_at_the_same_time(replicas: tuple[TestClient, TestClient]) -> None:
    """Concurrent requests on one session never run at the same time: the second gets a 409."""
    here, _ = replicas
    shared = generate(here, "a", parameters={"max_new_tokens": 1}, session="shared")["session"]

    def go_on(_: int) -> Any:
        return here.post("/generate", json={"inputs": "", "session": shared, "parameters": {"max_new_tokens": 30}})

    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(go_on, range(24)))
    assert {response.status_code for response in responses} <= {200, 409}
    busy = [response.json()["error_type"] for response in responses if response.status_code == 409]
    assert set(busy) <= {"session_busy"}
    assert generate(here, "", session=shared, parameters={"max_new_tokens": 1})["generated_text"]


def test_an_unknown_session_needs_a_prompt(replicas: tuple[TestClient, TestClient]) -> None:
    answer = refusal(replicas[0], 404, inputs="", session="never")
    assert answer["error_type"] == "unknown_session"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"inputs": "a", "state": "x", "session": "y"}, "state"),
        ({"inputs": "a", "n": 2, "session": "y"}, "n"),
        ({"inputs": "a", "n": 0}, "n"),
        ({"inputs": "a", "n": 17}, "n"),
        ({"inputs": "a", "session": "with blanks"}, "session"),
        ({"inputs": "a", "session": ""}, "session"),
        ({"inputs": "a", "state": ""}, "state"),
        ({"inputs": ""}, "inputs"),
    ],
)
def test_wishes_that_exclude_each_other_are_422(
    replicas: tuple[TestClient, TestClient], body: dict[str, Any], field: str
) -> None:
    assert refusal(replicas[0], 422, **body)["detail"][0]["field"] == field


def test_a_stream_of_several_continuations_is_refused(replicas: tuple[TestClient, TestClient]) -> None:
    response = replicas[0].post("/generate_stream", json={"inputs": "a", "n": 2})
    assert (response.status_code, response.json()["detail"][0]["field"]) == (422, "n")


def test_a_state_is_good_for_its_caller_alone(replicas: tuple[TestClient, TestClient]) -> None:
    here, there = replicas
    ada, bob = ({"Authorization": f"Bearer {name}"} for name in ("ada", "bob"))
    state = generate(here, "the cat", ada, return_state=True)["state"]
    assert refusal(there, 422, bob, inputs="", state=state)["reason"] == "foreign_caller"
    assert refusal(there, 422, inputs="", state=state)["reason"] == "foreign_caller"
    assert generate(there, "", ada, state=state)["generated_text"] is not None


def test_sessions_of_the_same_name_are_apart_for_each_caller(replicas: tuple[TestClient, TestClient]) -> None:
    here, _ = replicas
    generate(here, "the cat", {"Authorization": "Bearer ada"}, session="mine")
    assert refusal(here, 404, inputs="", session="mine")["error_type"] == "unknown_session"


ANONYMOUS = [None, {"Authorization": ""}, {"Authorization": " "}]


@pytest.mark.parametrize("headers", ANONYMOUS, ids=["none", "empty", "blank"])
@pytest.mark.parametrize("name", ["s", "play-1", "a.b", f"play-1.{'A' * 43}", "x" * 128, "0" * 32])
def test_a_stranger_who_chooses_the_same_name_has_another_session(
    replicas: tuple[TestClient, TestClient], name: str, headers: dict[str, str] | None
) -> None:
    """Without a header that tells callers apart, a chosen name opens nothing; the name given out opens one session."""
    here, _ = replicas
    short = {"parameters": {**GREEDY, "max_new_tokens": 3}}
    nobody = refusal(here, 404, headers, inputs="", session=name, **short)
    ours = generate(here, "the cat", headers, session=name, **short)
    assert refusal(here, 404, headers, inputs="", session=name, **short)["error"] == nobody["error"]
    theirs = generate(here, "on a mat", headers, session=name, **short)
    given = {answer["session"] for answer in (ours, theirs)}
    assert len(given) == 2
    assert name not in given
    assert all(len(session) <= 128 for session in given)
    more = generate(here, "", headers, session=ours["session"], **short)
    assert more["session"] == ours["session"]
    whole = generate(here, "the cat", parameters={**GREEDY, "max_new_tokens": 6})
    assert ours["generated_text"] + more["generated_text"] == whole["generated_text"]


def test_a_changed_name_is_not_one_that_was_given_out(replicas: tuple[TestClient, TestClient]) -> None:
    """Every changed character of a name that was given out makes it a chosen one, which opens nothing."""
    here, _ = replicas
    session = generate(here, "the cat", session="mine", parameters={"max_new_tokens": 1})["session"]
    for place in range(0, len(session), 3):
        changed = session[:place] + ("A" if session[place] != "A" else "B") + session[place + 1 :]
        refusal(here, 404, inputs="", session=changed)
    refusal(here, 404, ADA, inputs="", session=session)
    assert generate(here, "", session=session)["session"] == session


def test_a_stream_says_with_its_last_event_which_session_to_continue(replicas: tuple[TestClient, TestClient]) -> None:
    here, _ = replicas
    body = {"inputs": "the cat", "parameters": {**GREEDY, "max_new_tokens": 3}, "session": "told"}
    events = [json.loads(line[5:]) for line in here.post("/generate_stream", json=body).text.split("\n\n") if line]
    assert ["session" in event for event in events] == [False, False, True]
    rest = generate(here, "", session=events[-1]["session"], parameters={**GREEDY, "max_new_tokens": 3})
    whole = generate(here, "the cat", parameters={**GREEDY, "max_new_tokens": 6})
    assert events[-1]["generated_text"] + rest["generated_text"] == whole["generated_text"]


def test_a_name_given_out_by_one_replica_is_known_to_the_others() -> None:
    """A given name stays the caller's after its session expired, on all replicas with the key; without it is chosen."""
    ours, theirs = SessionNames([KEY]), SessionNames(["a newer secret of sixteen", KEY])
    name = ours.issue("mine")
    assert theirs.is_issued(name)
    assert not SessionNames([]).is_issued(name)


def test_changed_and_foreign_states_are_refused_with_the_reason(
    replicas: tuple[TestClient, TestClient], tmp_path: Path
) -> None:
    here, _ = replicas
    state = generate(here, "the cat", return_state=True)["state"]
    changed = state[:200] + ("A" if state[200] != "A" else "B") + state[201:]
    assert refusal(here, 422, inputs="", state=changed)["reason"] == "tampered"
    assert refusal(here, 422, inputs="", state="no state at all")["reason"] == "malformed"
    assert refusal(here, 413, inputs="", state="A" * 300_000)["reason"] == "too_large"
    write_tiny_bundle(tmp_path, "generation", seed=1)
    with running_service(tmp_path, state_keys=KEY) as other_weights:
        assert refusal(other_weights, 422, inputs="", state=state)["reason"] == "foreign_model"
    write_tiny_bundle(tmp_path, "generation", seed=0)
    with running_service(tmp_path, state_keys="another secret of sixteen") as other_key:
        assert refusal(other_key, 422, inputs="", state=state)["reason"] == "tampered"
    with running_service(tmp_path, state_keys=f"a new secret of sixteen,{KEY}") as rotated:
        assert generate(rotated, "", state=state)["generated_text"] is not None


def test_an_old_state_is_refused(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path, "generation")
    with running_service(tmp_path, state_ttl_s=1e-6, session_ttl_s=1e-6) as client:
        state = generate(client, "the cat", return_state=True)["state"]
        assert refusal(client, 422, inputs="", state=state)["reason"] == "expired"


def test_a_known_prompt_is_not_read_again(tmp_path: Path) -> None:
    """A second request with the same prompt uses the prefix cache and gets the same answer."""
    write_tiny_bundle(tmp_path, "generation")
    prompt, parameters = "the cat sat on a mat and one", {**SAMPLED, "max_new_tokens": 6}
    with running_service(tmp_path, prefix_checkpoint_tokens=8) as client:
        first, second = (generate(client, prompt, parameters=parameters) for _ in range(2))
        longer = generate(client, prompt + " two", parameters=parameters)
        metrics = client.get("/metrics").text
    with running_service(tmp_path, prefix_cache_bytes=0) as client:
        assert longer == generate(client, prompt + " two", parameters=parameters)
    assert first == second
    assert 'unroll_prefix_hits_total{model="tiny-generator"} 2.0' in metrics


@pytest.fixture(scope="module")
def chunks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A service with a forward-only tagger and classifier, and a bidirectional tagger."""
    models = tmp_path_factory.mktemp("chunks") / "models"
    write_tiny_bundle(models, "tagging", reads_chunks=True)
    write_tiny_bundle(models, "classification", reads_chunks=True)
    write_tiny_bundle(models, "tagging")
    with running_service(models, state_keys=KEY) as client:
        yield client


WORDS = ["the", "cat", "sat", "on", "a", "mat", "hello", "world", "."]


@pytest.mark.parametrize("cuts", [[1], [4], [2, 3, 8]])
def test_a_text_in_chunks_gets_the_tags_of_the_whole_text(chunks: TestClient, cuts: list[int]) -> None:
    def predict(words: list[str], **more: Any) -> Any:
        response = chunks.post("/predict", json={"model": "tiny-tagger-chunks", "inputs": [words], **more})
        assert response.status_code == 200, response.text
        return response.json()

    whole = [token["tag"] for token in predict(WORDS)["predictions"][0]["tokens"]]
    tags, state = [], None
    for start, end in zip([0, *cuts], [*cuts, len(WORDS)], strict=True):
        answer = predict(WORDS[start:end], return_state=True, **({"state": state} if state else {}))
        tags += [token["tag"] for token in answer["predictions"][0]["tokens"]]
        state = answer["state"]
    assert tags == whole


def test_a_classifier_judges_all_that_it_has_read(chunks: TestClient) -> None:
    body = {"model": "tiny-classifier-chunks", "parameters": {"top_k": 2}}
    whole = chunks.post("/predict", json={**body, "inputs": "the cat sat on"}).json()["predictions"][0]
    first = chunks.post("/predict", json={**body, "inputs": "the cat", "return_state": True}).json()
    second = chunks.post("/predict", json={**body, "inputs": "sat on", "state": first["state"]}).json()
    assert "state" not in second
    assert second["predictions"][0]["label"] == whole["label"]
    assert second["predictions"][0]["score"] == pytest.approx(whole["score"], abs=1e-5)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"model": "tiny-tagger", "inputs": "the cat", "return_state": True}, "return_state"),
        ({"model": "tiny-tagger-chunks", "inputs": ["a", "b"], "return_state": True}, "inputs"),
    ],
)
def test_what_cannot_be_read_in_chunks_is_422_with_the_reason(
    chunks: TestClient, body: dict[str, Any], field: str
) -> None:
    response = chunks.post("/predict", json=body)
    assert (response.status_code, response.json()["detail"][0]["field"]) == (422, field)


def test_models_say_whether_they_read_in_chunks(chunks: TestClient) -> None:
    said = {
        name: chunks.get(f"/models/{name}").json()["reads_chunks"] for name in ("tiny-tagger", "tiny-tagger-chunks")
    }
    assert said == {"tiny-tagger": False, "tiny-tagger-chunks": True}
