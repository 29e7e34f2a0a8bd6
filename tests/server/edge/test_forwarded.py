"""`X-Forwarded-*` and the root path: links, redirects, clients in the log, and who is believed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.server.edge.forwarded import root_path_of, without_prefix
from service.server.edge.trusted_proxies import TrustedProxies
from service.settings import SettingsError
from tests.live_server import Connection, LiveServer, live_server, post, request

TAG = {"model": "tiny-tagger", "inputs": "The cat sat."}
FORWARDED = {
    "x_forwarded_proto": "https",
    "x_forwarded_host": "api.example.com",
    "x_forwarded_prefix": "/tools/unroll",
    "x_forwarded_for": "203.0.113.9, 127.0.0.1",
}


@pytest.fixture(scope="module")
def server(tiny_models: Path) -> Iterator[LiveServer]:
    with live_server(tiny_models) as started:
        yield started


@pytest.fixture
def connection(server: LiveServer) -> Iterator[Connection]:
    with server.connect() as opened:
        yield opened


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    monkeypatch.setattr("service.api.request_scope.log_request", lambda logger, level, fields: lines.append(fields))
    return lines


def test_links_and_redirects_are_those_of_the_proxy(connection: Connection) -> None:
    moved = connection.ask(request("GET", "/docs/", **FORWARDED))
    assert moved.headers["location"] == "https://api.example.com/tools/unroll/docs"
    docs = connection.ask(request("GET", "/docs", **FORWARDED)).body
    assert b"'/tools/unroll/openapi.json'" in docs
    assert b'"/tools/unroll/static-offline-docs/swagger-ui-bundle.js"' in docs
    schema = connection.ask(request("GET", "/openapi.json", **FORWARDED)).json
    assert schema["servers"] == [{"url": "/tools/unroll"}]
    assert "servers" not in connection.ask(request("GET", "/openapi.json")).json
    missing = connection.ask(request("GET", "/modles", **FORWARDED))
    assert missing.json["error"] == "there is nothing at /modles; did you mean GET /models?"


@pytest.mark.parametrize(
    "wrong",
    [
        {"x_forwarded_prefix": "//evil.example"},
        {"x_forwarded_prefix": "/a'b"},
        {"x_forwarded_prefix": "/a</script>"},
        {"x_forwarded_prefix": "no-slash"},
        {"x_forwarded_prefix": "/" + "a" * 300},
        {"x_forwarded_prefix": "/"},
        {"x_forwarded_prefix": ""},
        {"x_forwarded_proto": "javascript"},
        {"x_forwarded_proto": ""},
        {"x_forwarded_host": "a b"},
        {"x_forwarded_host": "evil.example/x"},
        {"x_forwarded_host": ""},
    ],
    ids=str,
)
def test_values_that_are_none_are_ignored(connection: Connection, wrong: dict[str, str]) -> None:
    """What a proxy passes on goes into pages, so it is plain or left out."""
    assert connection.ask(request("GET", "/docs/", **wrong)).headers["location"] == "http://test/docs"
    assert b"'/openapi.json'" in connection.ask(request("GET", "/docs", **wrong)).body


def test_the_nearest_proxy_counts_in_lists(connection: Connection) -> None:
    """Values before the last one may have been sent by the client."""
    headers = {"x_forwarded_proto": "http, https", "x_forwarded_host": "evil.example, api.example.com"}
    moved = connection.ask(request("GET", "/docs/", **headers))
    assert moved.headers["location"] == "https://api.example.com/docs"


@pytest.mark.parametrize("target", ["/predict", "/predict?"])
def test_the_log_and_the_fair_share_have_the_client(
    server: LiveServer, connection: Connection, logged: list[dict[str, Any]], target: str
) -> None:
    connection.ask(post(target, TAG, **FORWARDED))
    connection.ask(post(target, TAG))
    assert [fields["client"] for fields in logged] == ["203.0.113.9", "127.0.0.1"]


@pytest.mark.parametrize("trusted", ["none", "", "10.0.0.0/8,::1"])
def test_nothing_is_believed_from_others(tiny_models: Path, logged: list[dict[str, Any]], trusted: str) -> None:
    with live_server(tiny_models, trusted_proxies=trusted) as server, server.connect() as connection:
        moved = connection.ask(request("GET", "/docs/", **FORWARDED))
        assert moved.headers["location"] == "http://test/docs"
        assert b"'/openapi.json'" in connection.ask(request("GET", "/docs", **FORWARDED)).body
        for target in ("/predict", "/predict?"):
            connection.ask(post(target, TAG, **FORWARDED))
    assert {fields["client"] for fields in logged} == {"127.0.0.1"}


CHAINS = [
    ("127.0.0.1", ["203.0.113.9"], "203.0.113.9"),
    ("127.0.0.1", ["198.51.100.1, 203.0.113.9"], "203.0.113.9"),
    ("127.0.0.1", ["203.0.113.9, 10.1.2.3"], "203.0.113.9"),
    ("127.0.0.1", ["198.51.100.1", "203.0.113.9", "10.1.2.3"], "203.0.113.9"),
    ("127.0.0.1", ["10.9.9.9, 10.1.2.3"], "10.9.9.9"),
    ("10.1.2.3", ["203.0.113.9:4711"], "203.0.113.9"),
    ("10.1.2.3", ["[2001:db8::9]:4711"], "2001:db8::9"),
    ("::ffff:10.1.2.3", ["2001:DB8:0::9"], "2001:db8::9"),
    ("10.1.2.3", ["unknown"], "10.1.2.3"),
    ("10.1.2.3", ["203.0.113.9, unknown, 10.1.2.3"], "10.1.2.3"),
    ("10.1.2.3", ["203.0.113.9, _hidden"], "10.1.2.3"),
    ("10.1.2.3", [""], "10.1.2.3"),
    ("10.1.2.3", [", ,"], "10.1.2.3"),
    ("10.1.2.3", ["1.1.1.1," * 5_000], "10.1.2.3"),
    ("192.0.2.7", ["203.0.113.9"], "192.0.2.7"),
    ("", ["203.0.113.9"], ""),
    ("testclient", ["203.0.113.9"], "testclient"),
]


@pytest.mark.parametrize(("peer", "values", "client"), CHAINS, ids=str)
def test_the_client_is_the_last_address_that_is_no_proxy(peer: str, values: list[str], client: str) -> None:
    proxies = TrustedProxies.of("127.0.0.1, 10.0.0.0/8")
    assert proxies.client_of(peer, [(b"x-forwarded-for", value.encode()) for value in values]) == client


ELEMENTS = [
    (["for=203.0.113.9"], "203.0.113.9"),
    (["For=203.0.113.9;Proto=https;by=10.0.0.1"], "203.0.113.9"),
    (["proto=https; for=203.0.113.9"], "203.0.113.9"),
    (['for="203.0.113.9:4711"'], "203.0.113.9"),
    (['for="[2001:db8::9]:4711"'], "2001:db8::9"),
    (["for=[2001:db8::9]:4711"], "2001:db8::9"),
    (["for=198.51.100.1, for=203.0.113.9"], "203.0.113.9"),
    (["for=198.51.100.1,for=203.0.113.9", "for=10.1.2.3"], "203.0.113.9"),
    (['for="\\2\\03.0.113.9"'], "203.0.113.9"),
    # What a client made up stands before what the proxy appends.
    (['for="evil, for=203.0.113.9'], "203.0.113.9"),
    (['for="evil, for="[2001:db8::9]"'], "2001:db8::9"),
    (['for="evil\\, for="203.0.113.9:1";proto=https'], "203.0.113.9"),
    (["nonsense, for=203.0.113.9"], "203.0.113.9"),
    (["x=" + "y" * 10_000 + ",for=203.0.113.9"], "203.0.113.9"),
    ([',;=",' * 2_000 + "for=203.0.113.9"], "203.0.113.9"),
    (["for=1.1.1.1," * 500 + "for=203.0.113.9"], "203.0.113.9"),
    # The proxy names no address.
    (["for=unknown"], "10.1.2.3"),
    (["for=_hidden"], "10.1.2.3"),
    (["for=203.0.113.9, for=unknown"], "10.1.2.3"),
    (["for=203.0.113.9, proto=https"], "10.1.2.3"),
    (["for=203.0.113.9,"], "10.1.2.3"),
    (["203.0.113.9"], "10.1.2.3"),
    ([""], "10.1.2.3"),
]


@pytest.mark.parametrize(("values", "client"), ELEMENTS, ids=lambda value: str(value)[:40])
def test_the_header_of_rfc_7239_names_the_client(values: list[str], client: str) -> None:
    headers = [(b"forwarded", value.encode()) for value in values]
    proxies = TrustedProxies.of("127.0.0.1, 10.0.0.0/8")
    assert proxies.client_of("10.1.2.3", headers) == client
    assert proxies.client_of("192.0.2.7", headers) == "192.0.2.7"


@pytest.mark.parametrize("name", ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-prefix"])
def test_a_proxy_that_writes_the_other_headers_is_not_overruled(name: str) -> None:
    """It passes on what a client sent as `Forwarded`."""
    headers = [(b"forwarded", b"for=203.0.113.9;host=evil.example"), (name.encode(), b"198.51.100.1")]
    expected = "198.51.100.1" if name == "x-forwarded-for" else "127.0.0.1"
    assert TrustedProxies.of("127.0.0.1").client_of("127.0.0.1", headers) == expected


def test_links_and_log_follow_the_header_of_rfc_7239(
    server: LiveServer, connection: Connection, logged: list[dict[str, Any]]
) -> None:
    """On the fast path too; what is no host or scheme is ignored."""
    sent = {"forwarded": 'for=198.51.100.1;host=evil.example, for=203.0.113.9;proto=https;host="api.example.com"'}
    moved = connection.ask(request("GET", "/docs/", **sent))
    assert moved.headers["location"] == "https://api.example.com/docs"
    for target in ("/predict", "/predict?"):
        connection.ask(post(target, TAG, **sent))
    assert [fields["client"] for fields in logged if fields["route"] == "/predict"] == ["203.0.113.9"] * 2
    wrong = {"forwarded": 'for=203.0.113.9;proto=javascript;host="a/b"'}
    assert connection.ask(request("GET", "/docs/", **wrong)).headers["location"] == "http://test/docs"


def test_the_host_check_follows_the_header_of_rfc_7239(tiny_models: Path) -> None:
    asked = []
    with live_server(tiny_models, allowed_hosts="api.example.com") as server:
        for value in ("host=api.example.com", "host=evil.example", "for=1.2.3.4"):
            with server.connect() as connection:  # a refusal ends it
                asked.append(connection.ask(request("GET", "/models", forwarded=value)).status)
    assert asked == [200, 421, 421]


def test_everyone_can_be_believed() -> None:
    headers = [(b"x-forwarded-for", b"203.0.113.9, 198.51.100.1")]
    assert TrustedProxies.of("*").client_of("192.0.2.7", headers) == "203.0.113.9"


@pytest.mark.parametrize("setting", ["localhost", "10.0.0.0/99", "10.0.0.1;10.0.0.2", "none,10.0.0.1"])
def test_a_proxy_that_is_no_address_stops_the_start(setting: str) -> None:
    with pytest.raises(SettingsError, match="UNROLL_TRUSTED_PROXIES"):
        TrustedProxies.of(setting)


@pytest.mark.parametrize("kept", [True, False], ids=["kept by the proxy", "removed by the proxy"])
def test_a_root_path_works_with_and_without_the_prefix(tiny_models: Path, kept: bool) -> None:
    """On the fast path too; the page loads its files by relative addresses, so it must end with a slash."""
    prefix = "/unroll" if kept else ""
    with live_server(tiny_models, root_path="/unroll/") as server, server.connect() as connection:
        assert connection.ask(post(f"{prefix}/predict", TAG)).status == 200
        assert server.short_paths == ["/predict"]
        assert connection.ask(post(f"{prefix}/predict?", TAG)).status == 200
        assert b"'/unroll/openapi.json'" in connection.ask(request("GET", f"{prefix}/docs")).body
        moved = connection.ask(request("GET", f"{prefix}/docs/"))
        assert moved.headers["location"] == "http://test/unroll/docs"
        assert connection.ask(request("GET", f"{prefix}/openapi.json")).json["servers"] == [{"url": "/unroll"}]
        assert connection.ask(request("GET", f"{prefix}/")).status == 200
        assert connection.ask(request("GET", f"{prefix}/static-offline-docs/swagger-ui.css")).status == 200
        assert connection.ask(request("GET", f"{prefix}/models/tiny-tagger")).status == 200
        assert connection.ask(request("GET", "/unroll")).headers["location"] == "http://test/unroll/"
        assert connection.ask(request("GET", "/unrolled/docs")).status == 404
        assert connection.ask(request("OPTIONS", f"{prefix}/predict")).headers["allow"] == "POST, OPTIONS"


@pytest.mark.parametrize("setting", ["unroll", "//unroll", "/a b", "https://example.com/unroll", "/a?b"])
def test_a_root_path_that_is_none_stops_the_start(setting: str) -> None:
    with pytest.raises(SettingsError, match="UNROLL_ROOT_PATH"):
        root_path_of(setting)


def test_a_prefix_ends_with_a_segment() -> None:
    found = {path: without_prefix(path, "/a/b") for path in ("/a/b/c", "/a/b", "/a/bc", "/a", "/x/a/b", "/a/b/")}
    assert found == {"/a/b/c": "/c", "/a/b": "", "/a/bc": "/a/bc", "/a": "/a", "/x/a/b": "/x/a/b", "/a/b/": "/"}
