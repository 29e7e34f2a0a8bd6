"""Sessions in Redis over HTTP: a bad entry is told once, a full store is told, one that is away stops nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.inference.state.sealed_state import StateOwner, StateSealer
from tests.conftest import running_service, wait_until
from tests.inference.state.redis_server import RedisServer
from tests.ports import free_port
from tests.tiny_bundles import write_tiny_bundle

KEY = "a secret of more than sixteen characters"
ADA = {"Authorization": "Bearer ada"}
SHORT = {"do_sample": False, "max_new_tokens": 3}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store") / "models"
    write_tiny_bundle(folder, "generation")
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def client(models: Path, server: RedisServer) -> Iterator[TestClient]:
    with running_service(models, state_keys=KEY, redis_url=server.url) as client:
        yield client


def ask(client: TestClient, inputs: str, session: str, **more: Any) -> tuple[int, dict[str, Any]]:
    body = {"inputs": inputs, "session": session, "parameters": SHORT, **more}
    response = client.post("/generate", json=body, headers=ADA)
    return response.status_code, response.json()


def stored_key(server: RedisServer) -> str:
    (key,) = [name for name in server.names() if name.endswith(":state")]
    return key


def sealed(secret: str, payload: bytes, owner: StateOwner) -> bytes:
    return StateSealer([secret], 60.0, 10_000).seal(payload, owner).encode()


NOBODY = StateOwner("another", "1", "00", "Bearer ada")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "malformed"),
        (b"\xff\xfe\x00", "malformed"),
        (b"{}", "malformed"),
        ("gAAAAA—".encode(), "malformed"),
        (b"half", "tampered"),
        (("a secret that was taken out", NOBODY), "tampered"),
        ((KEY, StateOwner("another", "1", "00", "Bearer bob")), "foreign_caller"),
        ((KEY, NOBODY), "foreign_model"),
        (b"own", "malformed"),
        (b"a" * 400_000, "malformed"),
        (None, "malformed"),
    ],
)
def test_a_session_that_cannot_be_opened_is_refused_once_and_then_new(
    client: TestClient, server: RedisServer, value: bytes | tuple[str, StateOwner] | None, reason: str
) -> None:
    """Foreign bytes, half a state, one of another key, caller, model or type: 422 once, then 404 or new."""
    server.clear()
    ask(client, "the cat", "bad")
    key = stored_key(server)
    if isinstance(value, tuple):  # sealed here and not before, for a seal expires
        secret, owner = value
        value = sealed(secret, b"x", owner)
    elif value == b"half":
        value = server.execute("GET", key)[:100]
        value += b"A" * (-len(value) % 4)
    elif value == b"own":
        value = sealed(KEY, b"no state", owner_in(client))
    if value is None:
        server.execute("DEL", key)
        server.execute("RPUSH", key, "a list")
    else:
        server.execute("SET", key, value)
    status, refused = ask(client, "", "bad")
    assert (status, refused["error_type"], refused["reason"]) == (422, "state_refused", reason)
    assert "dropped" in refused["error"]
    assert ask(client, "", "bad")[0] == 404
    assert ask(client, "the cat", "bad")[0] == 200
    assert ask(client, "", "bad")[0] == 200


def owner_in(client: TestClient) -> StateOwner:
    (entry,) = client.app.state.registry.entries  # type: ignore[attr-defined]
    manifest = entry.engine.opened.bundle.manifest
    return StateOwner(manifest.name, manifest.version, entry.engine.opened.identity, ADA["Authorization"])


@pytest.mark.parametrize("path", ["/generate", "/generate_stream"])
def test_a_full_store_is_told_and_the_caller_gets_the_state(client: TestClient, server: RedisServer, path: str) -> None:
    """While Redis is full, a session is read; the answer says that it was not kept, and carries the state."""
    server.clear()
    _, first = ask(client, "the cat", "full")
    server.execute("CONFIG", "SET", "maxmemory", 1)
    try:
        body = {"inputs": "", "session": "full", "parameters": SHORT}
        text = client.post(path, json=body, headers=ADA).text
        assert '"session_kept":false' in text
        assert ask(client, "", "full")[0] == 404
    finally:
        server.execute("CONFIG", "SET", "maxmemory", 0)
    state = text.partition('"state":"')[2].partition('"')[0]
    rest = client.post("/generate", json={"inputs": "", "state": state, "parameters": SHORT}, headers=ADA).json()
    whole = client.post("/generate", json={"inputs": "the cat", "parameters": {**SHORT, "max_new_tokens": 9}}).json()
    assert whole["generated_text"].startswith(first["generated_text"])
    assert whole["generated_text"].endswith(rest["generated_text"])
    metrics = client.get("/metrics").text
    assert 'unroll_session_store_failures_total{reason="full"} 0.0' not in metrics


def test_a_store_that_is_away_from_the_start_stops_sessions_only(models: Path) -> None:
    """The service is ready without its Redis, counts the failure before anyone asks, and answers all but sessions."""
    address = f"redis://127.0.0.1:{free_port()}/0"
    with running_service(models, state_keys=KEY, redis_url=address) as client:
        failures = client.app.state.services.state_storage.sessions.failures  # type: ignore[attr-defined]
        wait_until(lambda: failures["unreachable"] > 0)
        assert client.get("/health/ready").status_code == 200
        assert client.post("/generate", json={"inputs": "the cat", "parameters": SHORT}).status_code == 200
        status, refused = ask(client, "the cat", "away")
        assert (status, refused["error_type"]) == (503, "not_ready")


def test_a_password_that_is_wrong_is_told_without_it(
    models: Path, server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    address = server.url.replace("redis://", "redis://someone:a-secret-password@")
    with running_service(models, state_keys=KEY, redis_url=address) as client:
        status, refused = ask(client, "the cat", "locked")
        assert (status, refused["error_type"]) == (503, "not_ready")
    assert "a-secret-password" not in caplog.text + str(refused)
    assert any("session store" in record.getMessage() for record in caplog.records)
