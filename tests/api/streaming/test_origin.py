"""Pages of other sites may not open a stream: browsers would let them use the network of their visitor."""

from __future__ import annotations

import pytest

from service.api.streaming.origin import is_allowed_origin

SAME = [
    ("http://localhost:8000", "localhost:8000"),
    ("http://LOCALHOST:8000", "localhost:8000"),
    ("https://models.example", "models.example"),
    ("https://models.example", "models.example:443"),
    ("http://models.example:80", "models.example"),
    ("http://[::1]:8000", "[::1]:8000"),
]
OTHER = [
    ("http://evil.example", "models.example"),
    ("https://models.example.evil.example", "models.example"),
    ("https://evil.example/models.example", "models.example"),
    ("https://models.example@evil.example", "models.example"),
    ("https://models.example:8443", "models.example"),
    ("http://localhost:8001", "localhost:8000"),
    ("null", "models.example"),
    ("", "models.example"),
    ("file://", "models.example"),
    ("chrome-extension://abcdef", "models.example"),
    ("https://[::1", "models.example"),
    ("https://models.example:port", "models.example"),
    ("https://models.example, https://evil.example", "models.example"),
]


def head(origin: str, host: str) -> list[tuple[bytes, bytes]]:
    return [(b"host", host.encode()), (b"origin", origin.encode())]


@pytest.mark.parametrize(("origin", "host"), SAME)
def test_pages_of_the_service_may(origin: str, host: str) -> None:
    assert is_allowed_origin(head(origin, host))


@pytest.mark.parametrize(("origin", "host"), OTHER)
def test_pages_of_others_may_not(origin: str, host: str) -> None:
    assert not is_allowed_origin(head(origin, host))


def test_two_origins_are_none() -> None:
    origin = (b"origin", b"http://localhost:8000")
    assert not is_allowed_origin([(b"host", b"localhost:8000"), origin, origin])


def test_programs_send_no_origin_and_listed_sites_may() -> None:
    assert is_allowed_origin([(b"host", b"models.example")])
    assert is_allowed_origin(head("https://app.example", "models.example"), {"https://app.example"})
