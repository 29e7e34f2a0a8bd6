"""Addresses of servers are read from URLs, and requests to them are whole HTTP/1.1 requests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from service.cli.bench.load.address import Address, TlsOptions, parse_address
from service.errors import UnrollError


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("localhost:9000/", "http://localhost:9000"),
        ("https://host/models/unroll/", "https://host:443/models/unroll"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("http://bücher.example:80/größe x", "http://xn--bcher-kva.example:80/gr%C3%B6%C3%9Fe%20x"),
    ],
)
def test_urls_are_read_with_their_defaults(url: str, expected: str) -> None:
    assert parse_address(url, TlsOptions(), {}).url == expected


@pytest.mark.parametrize(
    "url", ["ftp://host", "http://", "http://host:port", "http://host:99999", "http://me@host", "http://host/?a=b", ""]
)
def test_what_is_no_base_url_is_refused(url: str) -> None:
    with pytest.raises(UnrollError, match="URL"):
        parse_address(url, TlsOptions(), {})


def test_a_key_that_no_header_can_hold_is_refused() -> None:
    with pytest.raises(UnrollError, match="Authorization"):
        parse_address("http://host", TlsOptions(), {"Authorization": "Bearer schlüssel"})


def test_a_file_that_is_no_certificate_is_named(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("none", encoding="ascii")
    with pytest.raises(UnrollError, match=r"ca\.pem: not a certificate"):
        parse_address("https://host", TlsOptions(ca_file=file), {})


def test_a_request_says_where_it_goes_and_how_long_it_is() -> None:
    address = Address("::1", 8000, "/unroll", headers={"Authorization": "Bearer secret"})
    head, _, content = address.post("/predict", {"inputs": ["ä"]}).partition(b"\r\n\r\n")
    assert json.loads(content) == {"inputs": ["ä"]}
    lines = head.decode("ascii").split("\r\n")
    assert lines[:3] == ["POST /unroll/predict HTTP/1.1", "Host: [::1]:8000", "Authorization: Bearer secret"]
    assert f"Content-Length: {len(content)}" in lines
