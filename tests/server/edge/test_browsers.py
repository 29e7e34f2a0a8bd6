"""Pages of other origins (CORS), and names that are not the service's own (Host)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.server.edge.cors import Cors
from service.server.edge.host_check import HostCheck
from service.server.edge.trusted_proxies import TrustedProxies
from service.settings import SettingsError
from tests.live_server import LiveServer, live_server, post, request

TAG = {"model": "tiny-tagger", "inputs": "The cat sat."}
LISTED, OTHER = "https://app.example.com", "https://evil.example.com"
PREFLIGHT = {
    "access_control_request_method": "POST",
    "access_control_request_headers": "authorization,content-type,x-request-timeout-ms",
}
SENT = {
    "fast": post("/predict", TAG, origin=LISTED),
    "through ASGI": post("/predict?", TAG, origin=LISTED),
    "stream": post("/generate_stream", {"inputs": "a", "parameters": {"max_new_tokens": 2}}, origin=LISTED),
    "error": post("/predict", {"model": "absent", "inputs": "a"}, origin=LISTED),
    "not JSON": post("/predict", b"{", origin=LISTED),
    "page": request("GET", "/models", origin=LISTED),
    "missing": request("GET", "/nowhere", origin=LISTED),
    "method": request("DELETE", "/predict", origin=LISTED),
    "too large": post("/predict", b" " * 3_000_000, origin=LISTED),
}


@pytest.fixture(scope="module")
def server(tiny_models: Path) -> Iterator[LiveServer]:
    with live_server(tiny_models, cors_origins=f"{LISTED}, HTTP://localhost:3000,https://port.example:443") as started:
        yield started


@pytest.mark.parametrize("what", SENT)
def test_a_listed_origin_may_read_every_answer(server: LiveServer, what: str) -> None:
    """Errors and streams too: a browser hides from the page what does not say so."""
    with server.connect() as connection:
        headers = connection.ask(SENT[what]).headers
    assert headers["access-control-allow-origin"] == LISTED
    assert headers["vary"].endswith("Origin")
    assert "x-request-id" in headers["access-control-expose-headers"]
    assert "access-control-allow-credentials" not in headers


@pytest.mark.parametrize("what", SENT)
@pytest.mark.parametrize("origin", [OTHER, "null", "https://app.example.com.evil.example", "http://app.example.com"])
def test_another_origin_may_not(server: LiveServer, what: str, origin: str) -> None:
    with server.connect() as connection:
        headers = connection.ask(SENT[what].replace(f"origin: {LISTED}".encode(), f"origin: {origin}".encode())).headers
    assert not [name for name in headers if name.startswith("access-control-")]
    assert headers["vary"].endswith("Origin")


@pytest.mark.parametrize("origin", [LISTED, "http://localhost:3000", "https://port.example"])
@pytest.mark.parametrize("path", ["/predict", "/generate_stream", "/models"])
def test_a_preflight_of_a_listed_origin_is_answered(server: LiveServer, path: str, origin: str) -> None:
    with server.connect() as connection:
        answer = connection.ask(request("OPTIONS", path, origin=origin, **PREFLIGHT))
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == origin
    methods = "GET, HEAD, OPTIONS" if path == "/models" else "POST, OPTIONS"
    assert answer.headers["access-control-allow-methods"] == methods
    assert answer.headers["access-control-allow-headers"] == PREFLIGHT["access_control_request_headers"]
    assert int(answer.headers["access-control-max-age"]) > 0


def test_a_preflight_of_another_origin_is_allowed_nothing(server: LiveServer) -> None:
    with server.connect() as connection:
        answer = connection.ask(request("OPTIONS", "/predict", origin=OTHER, **PREFLIGHT))
    assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_without_a_list_nothing_is_said(tiny_models: Path) -> None:
    with live_server(tiny_models) as server, server.connect() as connection:
        for sent in (SENT["fast"], SENT["page"], request("OPTIONS", "/predict", origin=LISTED, **PREFLIGHT)):
            headers = connection.ask(sent).headers
            assert not [name for name in headers if name.startswith("access-control-")]
            assert "Origin" not in headers.get("vary", "")


def test_any_origin_never_gets_credentials(tiny_models: Path) -> None:
    with live_server(tiny_models, cors_origins="*") as server, server.connect() as connection:
        headers = connection.ask(SENT["fast"]).headers
    assert headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in headers


def test_listed_origins_may_get_credentials(tiny_models: Path) -> None:
    options = {"cors_origins": LISTED, "cors_credentials": True}
    with live_server(tiny_models, **options) as server, server.connect() as connection:
        for sent in (SENT["fast"], SENT["stream"], request("OPTIONS", "/predict", origin=LISTED, **PREFLIGHT)):
            headers = connection.ask(sent).headers
            assert headers["access-control-allow-origin"] == LISTED
            assert headers["access-control-allow-credentials"] == "true"


@pytest.mark.parametrize(
    ("origins", "with_credentials"),
    [
        ("*", True),
        (f"*,{LISTED}", False),
        ("", True),
        ("app.example.com", False),
        (f"{LISTED}/", False),
        (f"{LISTED}/path", False),
        ("https://*.example.com", False),
        ("null", False),
        ("https://a b", False),
    ],
    ids=str,
)
def test_origins_that_are_none_stop_the_start(origins: str, with_credentials: bool) -> None:
    with pytest.raises(SettingsError, match="UNROLL_CORS_"):
        Cors.of(origins, with_credentials)


HOSTS = {
    "api.example.com": True,
    "API.example.com:8000": True,
    "api.example.com.": True,
    "a.b.example.org": True,
    "127.0.0.1": True,  # the address of the connection itself: probes
    "127.0.0.1:9": True,
    "example.org": False,
    "notexample.org": False,
    "evil.example": False,
    "api.example.com.evil.example": False,
    "127.0.0.2": False,
    "localhost": False,
    "[::1]": False,
    "": False,
}


@pytest.fixture(scope="module")
def guarded(tiny_models: Path) -> Iterator[LiveServer]:
    with live_server(tiny_models, allowed_hosts="api.example.com, *.example.org", trusted_proxies="none") as started:
        yield started


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("what", ["fast", "through ASGI", "page", "upgrade"])
def test_only_allowed_hosts_are_served(guarded: LiveServer, what: str, host: str) -> None:
    """On every way into the service; another host gets 421, and the connection ends."""
    sent = request("GET", "/", connection="Upgrade", upgrade="websocket") if what == "upgrade" else SENT[what]
    with guarded.connect() as connection:
        answer = connection.ask(sent.replace(b"Host: test", f"Host: {host}".encode(), 1))
        if HOSTS[host]:
            assert answer.status == 200
        else:
            assert (answer.status, answer.json["error_type"]) == (421, "misdirected_request")
            assert "UNROLL_ALLOWED_HOSTS" in answer.json["error"]
            assert connection.is_closed()


def test_an_old_client_without_a_host_is_served(guarded: LiveServer) -> None:
    """Probes of load balancers name none; a browser always does."""
    with guarded.connect() as connection:
        assert connection.ask(b"GET /health/ready HTTP/1.0\r\n\r\n").status == 200


def test_the_forwarded_host_counts_from_a_trusted_proxy_alone(tiny_models: Path, guarded: LiveServer) -> None:
    forwarded = request("GET", "/models", x_forwarded_host="api.example.com")
    with guarded.connect() as connection:
        assert connection.ask(forwarded).status == 421
    with live_server(tiny_models, allowed_hosts="api.example.com") as server, server.connect() as connection:
        assert connection.ask(forwarded).status == 200
        assert connection.ask(request("GET", "/models", x_forwarded_host="evil.example")).status == 421


@pytest.mark.parametrize("setting", ["https://api.example.com", "api.example.com:8000", "a b", "*.", "a,*b", "/"])
def test_hosts_that_are_none_stop_the_start(setting: str) -> None:
    with pytest.raises(SettingsError, match="UNROLL_ALLOWED_HOSTS"):
        HostCheck.of(setting, TrustedProxies([]))


@pytest.mark.parametrize("setting", ["", " , ", "*", "a.example,*"])
def test_without_a_list_every_host_is_right(setting: str) -> None:
    assert HostCheck.of(setting, TrustedProxies([])) is None
