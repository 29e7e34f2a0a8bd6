"""Pieces of a stream of requests end where its requests end, however the stream is cut into segments."""

from __future__ import annotations

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.server.request_pieces import RequestPieces

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
#: The body has empty lines of its own.
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n\r\n\r\n{\r\n\r\n"
CHUNKED = (
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n\r\n\r\n\r\n\r\n1;a=b\r\n{\r\n0\r\n\r\n"
)
TRAILERS = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nA: b\r\n\r\n"
EMPTY = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
LINES_BEFORE = b"\r\n\r\n" + GET


class Reader:
    """A parser that is fed pieces, and counts the requests that it sees in each."""

    def __init__(self) -> None:
        self.pieces = RequestPieces()
        self.num_requests = 0
        self._declared = 0
        self._parser = httptools.HttpRequestParser(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        if name == b"Content-Length":
            self._declared = int(value)

    def on_headers_complete(self) -> None:
        self.pieces.num_left_bytes, self._declared = self._declared, 0

    def on_message_complete(self) -> None:
        self.num_requests += 1

    def read(self, data: bytes) -> None:
        start = 0
        while start < len(data):
            end = self.pieces.end(data, start)
            assert end > start
            before = self.num_requests
            self._parser.feed_data(data[start:end])
            assert self.num_requests <= before + 1, data[start:end]
            start = end


@given(
    st.lists(st.sampled_from([GET, POST, CHUNKED, TRAILERS, EMPTY, LINES_BEFORE]), min_size=1, max_size=6),
    st.lists(st.integers(1, 40), min_size=1, max_size=8),
)
def test_no_piece_reaches_into_a_second_request(requests: list[bytes], sizes: list[int]) -> None:
    """Requests of every form, cut into segments of all sizes: no piece has the end of more than one request."""
    stream, reader, start, number = b"".join(requests), Reader(), 0, 0
    while start < len(stream):
        size = sizes[number % len(sizes)]
        reader.read(stream[start : start + size])
        start, number = start + size, number + 1
    assert reader.num_requests == len(requests)


@pytest.mark.parametrize("form", [GET, POST, CHUNKED, TRAILERS, EMPTY, LINES_BEFORE])
def test_two_requests_may_be_cut_anywhere(form: bytes) -> None:
    """Two requests of each form in two segments, cut at every byte, are two requests."""
    stream = form + form
    for cut in range(1, len(stream)):
        reader = Reader()
        reader.read(stream[:cut])
        reader.read(stream[cut:])
        assert reader.num_requests == 2
