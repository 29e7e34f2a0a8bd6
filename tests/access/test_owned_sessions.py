"""Sessions and states belong to the API key: listed and deleted by their owner, and out of reach for everybody else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.access.key_makers import bearer, key, key_file
from tests.conftest import wait_until
from tests.inference.state.redis_server import RedisServer
from tests.live_server import Answer, LiveServer, held_runs, live_server, post, request

STATE_KEYS = "a secret of more than sixteen characters"
ALICE, BOB = {"authorization": bearer("alice")}, {"authorization": bearer("bob")}


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture(scope="module", params=["memory", "redis"])
def server(
    request: pytest.FixtureRequest, tiny_models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveServer]:
    path = key_file(tmp_path_factory.mktemp("keys"), key("alice", id="1"), key("bob", id="2"))
    store = {}
    if request.param == "redis":
        store["redis_url"] = request.getfixturevalue("redis").url
    with live_server(tiny_models, api_keys_file=path, state_keys=STATE_KEYS, **store) as started:
        yield started


@pytest.fixture(scope="module")
def anonymous(tiny_models: Path) -> Iterator[LiveServer]:
    """A service without keys."""
    with live_server(tiny_models, state_keys=STATE_KEYS) as started:
        yield started


def generate(server: LiveServer, session: str, inputs: str = "ab", **headers: str) -> Answer:
    body = {"inputs": inputs, "session": session, "parameters": {"max_new_tokens": 2}}
    with server.connect() as connection:
        return connection.ask(post("/generate", body, **headers))


def listed(server: LiveServer, **headers: str) -> Any:
    with server.connect() as connection:
        answer = connection.ask(request("GET", "/sessions", **headers))
    assert answer.status == 200, answer
    return answer.json["sessions"]


def names(server: LiveServer, **headers: str) -> list[str]:
    return [session["name"] for session in listed(server, **headers)]


def delete(server: LiveServer, name: str, **headers: str) -> Answer:
    with server.connect() as connection:
        return connection.ask(request("DELETE", f"/sessions/{name}", **headers))


def clear(server: LiveServer) -> None:
    for headers in (ALICE, BOB):
        for name in names(server, **headers):
            delete(server, name, **headers)


def test_an_owner_lists_and_deletes_sessions_and_nobody_else_does(server: LiveServer) -> None:
    clear(server)
    for name in ("one", "two"):
        assert generate(server, name, **ALICE).json["session"] == name
    assert generate(server, "two", "b", **BOB).status == 200
    newest, oldest = listed(server, **ALICE)
    assert (newest["name"], oldest["name"]) == ("two", "one")
    assert (newest["model"], newest["version"]) == ("tiny-generator", "1")
    assert newest["state_bytes"] > 100
    assert 0 < newest["expires_in_s"] <= 3600
    assert names(server, **BOB) == ["two"]
    assert delete(server, "one", **BOB).status == 404
    assert delete(server, "two", **BOB).json == {"name": "two", "deleted": 1}
    assert names(server, **BOB) == []
    assert names(server, **ALICE) == ["two", "one"]
    assert delete(server, "one", **ALICE).status == 200
    assert delete(server, "one", **ALICE).json["error_type"] == "unknown_session"
    assert generate(server, "one", "", **ALICE).json["error_type"] == "unknown_session"
    assert generate(server, "two", "", **ALICE).status == 200


def test_the_same_name_of_two_keys_is_two_sessions(server: LiveServer) -> None:
    clear(server)
    generate(server, "same", "aaaa", **ALICE)
    assert generate(server, "same", "", **BOB).json["error_type"] == "unknown_session"
    assert names(server, **BOB) == []


@pytest.mark.parametrize("name", ["absent", "a%2Fb", "x" * 3000, "%00", "%ff", "..", "a.b:c-d_e"])
def test_a_name_that_is_no_session_is_unknown(server: LiveServer, name: str) -> None:
    answer = delete(server, name, **ALICE)
    assert answer.status == 404
    assert answer.json["error_type"] in ("unknown_session", "not_found")


def test_a_session_in_use_is_not_deleted(server: LiveServer) -> None:
    clear(server)
    generate(server, "busy", **ALICE)
    with server.connect() as connection:
        with held_runs(server, "tiny-generator") as begun:
            body = {"inputs": "b", "session": "busy", "parameters": {"max_new_tokens": 2}}
            connection.send(post("/generate", body, **ALICE))
            wait_until(begun.is_set)
            assert delete(server, "busy", **ALICE).status == 409
        assert connection.answer().status == 200
    assert names(server, **ALICE) == ["busy"]


def test_a_state_opens_for_the_key_that_got_it_in_either_header(server: LiveServer) -> None:
    body: dict[str, Any] = {"inputs": "ab", "return_state": True, "parameters": {"max_new_tokens": 2}}
    with server.connect() as connection:
        state = connection.ask(post("/generate", body, **ALICE)).json["state"]
        body = {"inputs": "", "state": state, "parameters": {"max_new_tokens": 2}}
        assert connection.ask(post("/generate", body, **BOB)).json["reason"] == "foreign_caller"
        assert connection.ask(post("/generate", body, **ALICE)).status == 200
        secret = ALICE["authorization"].removeprefix("Bearer ")
        assert connection.ask(post("/generate", body, x_api_key=secret)).status == 200


def test_a_new_secret_of_the_same_key_keeps_sessions(tiny_models: Path, tmp_path: Path) -> None:
    path = key_file(tmp_path, key("alice", id="1"))
    with live_server(tiny_models, api_keys_file=path) as server:
        generate(server, "kept", **ALICE)
        key_file(tmp_path, key("bob").model_copy(update={"name": "alice", "id": "1"}))
        access = server.app.state.services.access
        assert access.take_over(access.read_again()) == "ok"
        assert generate(server, "kept", "", **ALICE).status == 401
        assert generate(server, "kept", "", **BOB).status == 200
        assert names(server, **BOB) == ["kept"]


def test_without_keys_the_header_is_the_owner(anonymous: LiveServer) -> None:
    generate(anonymous, "one", authorization="Bearer anything")
    assert names(anonymous, authorization="Bearer anything") == ["one"]
    assert names(anonymous, authorization="Bearer another") == []


def test_callers_that_send_nothing_have_no_list_and_delete_by_the_name_they_got(anonymous: LiveServer) -> None:
    name = generate(anonymous, "play").json["session"]
    with anonymous.connect() as connection:
        refused = connection.ask(request("GET", "/sessions"))
    assert (refused.status, refused.json["error_type"]) == (401, "unauthenticated")
    assert delete(anonymous, "play").status == 404
    assert delete(anonymous, name).status == 200
    assert generate(anonymous, name, "").status == 404


def test_redis_learns_neither_names_nor_callers(tiny_models: Path, redis: RedisServer, tmp_path: Path) -> None:
    """Also of the index by which sessions are listed."""
    redis.clear()
    store = {"api_keys_file": key_file(tmp_path, key("alice")), "redis_url": redis.url, "state_keys": STATE_KEYS}
    with live_server(tiny_models, **store) as server:
        generate(server, "secret-name", **ALICE)
        assert names(server, **ALICE) == ["secret-name"]
    kept = redis.names()
    assert {name.rpartition(":")[2] for name in kept} == {"state", "used", "labels"}
    values = [redis.execute("DUMP", name) for name in kept]
    for text in ("secret-name", "alice", "tiny-generator"):
        assert not [name for name in kept if text in name]
        assert not [value for value in values if text.encode() in value]
