"""Frames that break the rules, lie about their size or never end: a close code, nothing held, nobody else harmed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live_server import LiveServer, live_server
from tests.server.websocket.raw_socket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    RawSocket,
    Received,
    frame,
    offer,
    open_socket,
    text,
)

START = {"type": "start", "model": "tiny-tagger"}
GIGABYTE = 1 << 30


@pytest.fixture(scope="module")
def server(tiny_models: Path) -> Iterator[LiveServer]:
    with live_server(tiny_models, max_stream_message_bytes=4096) as started:
        yield started


BROKEN = {
    "not masked": (frame(TEXT, b"{}", masked=False), 1002),
    "compressed, which was not negotiated": (frame(TEXT, b"\xca\x2c", reserved=4), 1002),
    "other reserved bits": (frame(TEXT, b"{}", reserved=3), 1002),
    "unknown opcode": (frame(3, b"{}"), 1002),
    "unknown control opcode": (frame(11, b""), 1002),
    "ping of more than 125 bytes": (frame(PING, b"x" * 126), 1002),
    "ping in parts": (frame(PING, b"x", fin=False), 1002),
    "continuation of nothing": (frame(CONTINUATION, b"x"), 1002),
    "message within a message": (frame(TEXT, b"{", fin=False) + frame(TEXT, b"{}"), 1002),
    "close of one byte": (frame(CLOSE, b"\x03"), 1002),
    "close with a code that is none": (frame(CLOSE, b"\x03\xed"), 1002),
    "close with a code of another protocol": (frame(CLOSE, b"\xff\xff"), 1002),
    "a gigabyte is declared": (frame(BINARY, b"", length=GIGABYTE), 1009),
    "2 ** 63 bytes are declared": (frame(BINARY, b"", length=1 << 63), 1009),
    "a gigabyte of text": (frame(TEXT, b"", length=GIGABYTE), 1009),
    "too large by one byte": (frame(TEXT, b"x" * 4097), 1009),
    "too large in parts": (frame(TEXT, b"x" * 4000, fin=False) + frame(CONTINUATION, b"x" * 97), 1009),
    "no UTF-8": (frame(TEXT, b"\xff\xfe{}"), 1007),
    "half a surrogate pair": (frame(TEXT, b"\xed\xa0\x80"), 1007),
    "UTF-8 that is cut": (frame(TEXT, b'"\xc3', fin=False) + frame(CONTINUATION, b'"'), 1007),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_frame_ends_its_connection_with_the_code_for_it(server: LiveServer, case: str) -> None:
    data, code = BROKEN[case]
    with open_socket(server) as other, RawSocket(server.port) as connection:
        assert connection.ask(offer()).status == 101
        connection.send(data)
        assert connection.receive().close_code == code
        assert connection.is_closed()
        assert other.say(START)["type"] == "started"


UNREADABLE = {
    "no JSON": (b"hello", "malformed_json", 4400),
    "empty": (b"", "validation", 4422),
    "a list": (b"[]", "validation", 4422),
    "no type": (b"{}", "validation", 4422),
    "unknown type": (b'{"type": "begin"}', "validation", 4422),
    "unknown field": (b'{"type": "start", "modle": "x"}', "validation", 4422),
    "a number as model": (b'{"type": "start", "model": 7}', "validation", 4422),
    "deeply nested": (b"[" * 4000, "malformed_json", 4400),
    "NaN": (b'{"type": "frames", "frames": [[NaN]]}', "validation", 4422),
    "infinite": (b'{"type": "frames", "frames": [[1e999]]}', "validation", 4422),
    "rows that are none": (b'{"type": "frames", "frames": [1]}', "validation", 4422),
    "a state that is none": (b'{"type": "start", "model": "tiny-generator", "state": "x"}', "state_refused", 4422),
    "text before start": (b'{"type": "text", "text": "x"}', "out_of_order", 1008),
    "end before start": (b'{"type": "end"}', "out_of_order", 1008),
    "generate before start": (b'{"type": "generate"}', "out_of_order", 1008),
    "state before start": (b'{"type": "state"}', "out_of_order", 1008),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_a_message_that_cannot_be_used_is_answered_with_an_error_and_a_code(server: LiveServer, case: str) -> None:
    data, error_type, code = UNREADABLE[case]
    with open_socket(server) as connection:
        connection.send(frame(TEXT, data))
        error = connection.receive().json
        assert (error["type"], error["error_type"]) == ("error", error_type)
        assert error["error"]
        assert error["request_id"]
        assert connection.receive().close_code == code


def test_bytes_before_start_are_out_of_order(server: LiveServer) -> None:
    with open_socket(server) as connection:
        connection.send(frame(BINARY, b"1234"))
        assert connection.receive().json["error_type"] == "out_of_order"
        assert connection.receive().close_code == 1008


def test_frames_after_close_are_dropped(server: LiveServer) -> None:
    with open_socket(server) as connection:
        connection.send(frame(CLOSE, b"\x03\xe8bye") + text(START) * 100)
        assert connection.receive() == Received(CLOSE, b"\x03\xe8bye")
        assert connection.is_closed()


def test_a_message_of_a_thousand_empty_parts_is_one_message(server: LiveServer) -> None:
    whole = json.dumps(START).encode()
    with open_socket(server) as connection:
        connection.send(frame(TEXT, whole[:5], fin=False) + frame(CONTINUATION, fin=False) * 1000)
        connection.send(frame(CONTINUATION, whole[5:]))
        assert connection.receive().json["type"] == "started"


FLOODS = {
    "empty parts": frame(BINARY, b"x", fin=False) + frame(CONTINUATION, fin=False) * 5000,
    "pings": frame(PING, b"x") * 5000,
    "pongs": frame(PONG) * 5000,
}


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_of_frames_that_carry_nothing_ends_its_connection(server: LiveServer, flood: str) -> None:
    """Another connection is served as before."""
    with open_socket(server) as other, RawSocket(server.port) as connection:
        assert connection.ask(offer()).status == 101
        connection.send(FLOODS[flood])
        while (received := connection.receive()).opcode == PONG:
            pass
        assert received.close_code == 1008
        assert other.say(START)["type"] == "started"


def test_every_ping_is_answered_and_none_ends_the_stream(server: LiveServer) -> None:
    with open_socket(server) as connection:
        connection.send(b"".join(frame(PING, b"%d" % number) for number in range(1000)) + frame(PONG, b"unasked"))
        pongs = [connection.receive() for _ in range(1000)]
        assert pongs == [Received(PONG, b"%d" % number) for number in range(1000)]
        assert connection.say(START)["type"] == "started"


def test_messages_sent_at_once_are_answered_in_order(server: LiveServer) -> None:
    """Many more than may wait: the socket is not read until there is room."""
    with open_socket(server) as connection:
        connection.send(text(START) + text({"type": "text", "text": "cat "}) * 2000 + text({"type": "end"}))
        assert connection.receive().json["type"] == "started"
        indices = [connection.receive().json["index"] for _ in range(2000)]
        assert indices == list(range(1, 2001))
        error = connection.receive().json
        assert error["error_type"] == "validation", "2000 words are more than the model takes"
        assert connection.receive().close_code == 4422


def test_what_a_client_says_of_its_code_makes_no_label(server: LiveServer) -> None:
    with open_socket(server) as connection:
        connection.send(frame(CLOSE, b"\x0f\x0f"))
        assert connection.receive().close_code == 3855
    assert server.metric("unroll_stream_closes_total", protocol="websocket", code="3855") == 0
    assert server.metric("unroll_stream_closes_total", protocol="websocket", code="other") > 0
