"""Mistakes of callers: each is told at once and says what to write instead, and none spoils what comes after it."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from service.client import AsyncClient, Client, InvalidAddress, InvalidInput
from tests.client.conftest import address
from tests.client.scripted_server import http, scripted
from tests.live_server import LiveServer

URL = "http://127.0.0.1:8000"
READY = http(200, {"status": "ready", "reasons": []})


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("127.0.0.1:9000", "http://127.0.0.1:9000"),
        ("ws://host:9000", "http://host:9000"),
        ("http://a b/", URL),
        ("http://user:hidden@host?a=1", URL),
        ("", URL),
        (None, URL),
    ],
)
def test_an_address_that_is_none_says_what_was_probably_meant(url: Any, meant: str) -> None:
    with pytest.raises(InvalidAddress) as caught:
        Client(url)
    assert str(caught.value).endswith((meant, "and no NoneType"))
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"timeout": "5"},
        {"retries": "3"},
        {"retries": True},
        {"api_key": 5},
        {"tls": "ca.pem"},
        {"headers": {"X": "a\r\nB: c"}},
        {"headers": {"X\n": "a"}},
        {"headers": {"X": 3}},
    ],
)
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_an_option_of_the_wrong_kind_is_named_before_anything_is_sent(kind: Any, options: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError), match=next(iter(options))):
        kind(URL, **options)


def test_user_and_password_of_the_address_are_sent_and_not_shown() -> None:
    with scripted(READY) as server, Client(server.url.replace("//", "//me:p%40ss@"), api_key="") as client:
        assert "ss" not in repr(client)
        assert client.health().is_ready
    assert b"Authorization: Basic bWU6cEBzcw==" in server.requests[0]


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(
    service: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "socks5://127.0.0.1:9")
    with Client(address(service), retries=0) as client:
        assert client.health().is_ready
        with client.stream("tiny-tagger-chunks") as stream:
            assert stream.started.task == "tagging"


def test_a_forked_process_has_connections_of_its_own(service: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """On those of its parent it would read the parent's answers. A fork shows as another process id."""
    with Client(address(service)) as client:
        assert client.health().is_ready
        of_parent = client._http._http
        monkeypatch.setattr("service.client.connection.os.getpid", lambda: 0)
        assert client.health().is_ready
        assert client._http._http is not of_parent
        of_parent.close()


def test_a_client_of_another_event_loop_says_so(service: LiveServer) -> None:
    client = AsyncClient(address(service))

    async def ask() -> bool:
        return (await client.health()).is_ready

    async def ask_and_close() -> None:
        async with AsyncClient(address(service)) as another:
            assert (await another.health()).is_ready

    async def leave() -> None:
        assert await ask()
        await client.aclose()

    asyncio.run(leave())
    with pytest.raises(RuntimeError, match="one event loop"):
        asyncio.run(ask())
    asyncio.run(ask_and_close())


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"inputs": ["a", "\ud800"]}, "inputs.1"),
        ({"inputs": "a", "parameters": {"top_k": math.inf}}, "parameters.top_k"),
        ({"inputs": {"frames": [[math.nan]]}}, "inputs.frames"),
    ],
)
def test_what_is_no_json_is_named_by_its_place(body: dict[str, Any], field: str) -> None:
    with Client(URL, retries=0) as client, pytest.raises(InvalidInput) as caught:
        client.request("POST", "predict", body)
    assert caught.value.field == field


def test_embeddings_of_a_live_service_are_vectors_of_length_1(client: Any) -> None:
    found = client.embeddings(["hello", "one two"], model="tiny-classifier")
    assert [math.hypot(*vector) for vector in found.vectors] == pytest.approx([1.0, 1.0], abs=1e-3)
    assert client.embeddings("hello", model="tiny-classifier").vectors[0] == pytest.approx(found.vectors[0], abs=1e-4)
    for inputs in ([["a", "b"]], b"abc", [1]):
        with pytest.raises(InvalidInput, match="a text, or a list of texts"):
            client.embeddings(inputs, model="tiny-classifier")
