"""`state_every`: a stream sends intermediate states, and another replica can resume from any of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.conftest import running_service
from tests.tiny_bundles import write_tiny_bundle

KEY = "a secret of more than sixteen characters"
SAMPLED = {"do_sample": True, "temperature": 1.3, "seed": 11, "repetition_penalty": 1.2, "max_new_tokens": 28}


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TestClient, TestClient]]:
    """Two services with the same bundle and the same state key."""
    models = tmp_path_factory.mktemp("way") / "models"
    write_tiny_bundle(models, "generation")
    with running_service(models, state_keys=KEY) as here, running_service(models, state_keys=KEY) as there:
        yield here, there


def events(client: TestClient, **body: Any) -> list[dict[str, Any]]:
    response = client.post("/generate_stream", json=body)
    assert response.status_code == 200, response.text
    return [json.loads(line[5:]) for line in response.text.split("\n\n") if line]


def tokens(stream: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event["token"] for event in stream]


def test_another_replica_goes_on_from_any_state_with_the_very_same_tokens(
    replicas: tuple[TestClient, TestClient],
) -> None:
    """Another replica resumes from any state to the same tokens and log-probabilities, within `tokens_left`."""
    here, there = replicas
    whole = events(here, inputs="the cat", parameters=SAMPLED, state_every=9)
    carrying = [event for event in whole if "state" in event]
    assert [(event["index"], event["tokens_left"]) for event in carrying] == [(9, 19), (18, 10), (27, 1)]
    for event in carrying:
        parameters = {**SAMPLED, "max_new_tokens": event["tokens_left"]}
        rest = events(there, inputs="", parameters=parameters, state=event["state"])
        assert tokens(rest) == tokens(whole)[event["index"] :]


def test_the_last_event_has_a_state_only_if_that_was_asked_for(replicas: tuple[TestClient, TestClient]) -> None:
    wishes = {**SAMPLED, "max_new_tokens": 16}
    without = events(replicas[0], inputs="the cat", parameters=wishes, state_every=8)
    both = events(replicas[0], inputs="the cat", parameters=wishes, state_every=8, return_state=True)
    assert [event["index"] for event in without if "state" in event] == [8]
    assert [event["index"] for event in both if "state" in event] == [8, 16]


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("/generate_stream", {"state_every": 7}, "greater than or equal to 8"),
        ("/generate_stream", {"state_every": 8, "session": "mine"}, "leave state_every out"),
        ("/generate", {"state_every": 8}, "use /generate_stream"),
    ],
)
def test_where_no_state_can_be_sent_on_the_way_asking_for_one_is_422(
    replicas: tuple[TestClient, TestClient], path: str, body: dict[str, Any], says: str
) -> None:
    response = replicas[0].post(path, json={"inputs": "a", **body})
    assert response.status_code == 422
    (detail,) = response.json()["detail"]
    assert detail["field"] == "state_every"
    assert says in detail["message"]


def test_a_state_that_is_too_large_ends_the_stream_with_its_error(tmp_path: Any) -> None:
    write_tiny_bundle(tmp_path, "generation")
    with running_service(tmp_path, state_keys=KEY) as strict:
        strict.app.state.services.state_storage.sealer.max_token_bytes = 100  # type: ignore[attr-defined]
        *_, last = events(strict, inputs="the cat", parameters=SAMPLED, state_every=8)
    assert last["error_type"] == "state_refused"
