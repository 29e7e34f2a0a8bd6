"""Heads that were parsed before: what is remembered, and that nothing else is taken for them."""

from __future__ import annotations

import pytest

from service.api.protocol import Match, Protocol, Route
from service.server.edge.known_heads import KnownHeads

HEAD = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n"
HEADERS = [(b"host", b"a"), (b"content-length", b"2")]


async def _endpoint(call: object, body: bytes) -> None:
    raise AssertionError("no request is sent")


ROUTE = Route("/predict", _endpoint, bytes)  # type: ignore[arg-type]  # never called
MATCH = Match(ROUTE, Protocol("predict", "inference", [ROUTE]))


def test_a_request_with_the_same_head_is_found_with_its_own_body() -> None:
    """A known head gives its route and headers, and the bytes after it are the body."""
    known = KnownHeads()
    known.learn(HEAD + b"{}", MATCH, HEADERS, 2, b"/predict")
    found = known.find(HEAD + b"[]")
    assert found is not None
    head, body = found
    assert (head.match, head.headers, head.headers.known.content_length, body) == (MATCH, HEADERS, b"2", b"[]")


@pytest.mark.parametrize(
    "data",
    [
        HEAD,
        HEAD + b"{",
        HEAD + b"{}POST",
        HEAD.replace(b"Host: a", b"Host: b") + b"{}",
        HEAD.replace(b": 2", b": 02") + b"{}",
        b"\r\n\r\n{}",
        b"{}",
        b"",
    ],
)
def test_anything_but_one_whole_request_with_a_known_head_is_left_to_the_parser(data: bytes) -> None:
    """A part of a request, more than one, and another head, are not found."""
    known = KnownHeads()
    known.learn(HEAD + b"{}", MATCH, HEADERS, 2, b"/predict")
    assert known.find(data) is None


@pytest.mark.parametrize(
    ("data", "headers"),
    [
        (b"\r\n\r\n" + HEAD + b"{}", HEADERS),
        (b"\r\n" + HEAD + b"{}", HEADERS),
        (HEAD.replace(b"\r\n", b"\n") + b"{}\r\n\r\n", HEADERS),
        (HEAD.replace(b"a\r\n", b"a\n") + b"{}", HEADERS),
        (HEAD[:-2], HEADERS),
        (HEAD + b"{}", HEADERS[:1]),
        (HEAD.replace(b"Host: a", b"Host: a\r\nX-Request-Id: 1"), [*HEADERS, (b"x-request-id", b"1")]),
        (HEAD.replace(b"Host: a", b"Host: " + 2000 * b"a"), HEADERS),
    ],
)
def test_a_head_that_could_be_read_in_two_ways_or_is_used_once_is_not_remembered(
    data: bytes, headers: list[tuple[bytes, bytes]]
) -> None:
    """Empty lines before it, bare line feeds, an incomplete or long head, and one with the id of a request."""
    known = KnownHeads()
    known.learn(data, MATCH, headers, 2, b"/predict")
    assert len(known) == 0


def test_what_clients_choose_does_not_fill_the_memory() -> None:
    """The number of heads stays bounded, and new ones are still remembered."""
    known = KnownHeads()
    for number in range(5000):
        name = b"x-%d" % number
        known.learn(HEAD.replace(b"Host", name) + b"{}", MATCH, [(name, b"a"), HEADERS[1]], 2, b"/predict")
    assert len(known) <= 1024
    assert known.find(HEAD.replace(b"Host", b"x-4999") + b"{}") is not None
