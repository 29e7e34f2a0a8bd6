"""Servers of every kind: broken, busy, slow and foreign ones. Both clients raise the same clear error."""

from __future__ import annotations

import gzip
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from service.client import (
    ClientError,
    ConnectionFailed,
    ForeignAnswer,
    InferenceFailed,
    InvalidAddress,
    NotReady,
    Overloaded,
    RateLimited,
    Retries,
    ServiceError,
    StreamBroken,
    TimedOut,
)
from service.client.retries import Attempts, Deadline, retry_after_s
from tests.client.conftest import Connect, noted_pauses
from tests.client.scripted_server import Answer, events, http, reset, scripted, silent
from tests.conftest import PATIENCE_S

GOOD = http(200, {"model": "m", "version": "1", "task": "classification", "predictions": [{"label": "a", "score": 1}]})
BUSY = {"error": "too many requests", "error_type": "overloaded"}
PAGE = b"<!DOCTYPE html><title>502 Bad Gateway</title>"
TOKEN = '{"index":%d,"token":{"id":5,"text":"a","logprob":-1,"special":false},"generated_text":%s}'
FIRST, LAST = TOKEN % (1, "null"), TOKEN % (2, '"aa"')


def drip(connection: Any) -> None:
    """Answer a byte now and then."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        connection.sendall(b" ")
        time.sleep(0.02)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
@pytest.mark.parametrize("body", [BUSY, PAGE], ids=["ours", "page"])
def test_a_busy_server_is_asked_again_after_what_it_asks_for(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, status: int, body: Any
) -> None:
    busy = http(status, body, retry_after="3")
    with scripted(busy, busy, GOOD) as server, noted_pauses(monkeypatch) as pauses:
        assert connect(server.url).predict("a").prediction.label == "a"
    assert pauses == [3.0, 3.0]
    assert server.bodies == [{"inputs": "a"}] * 3


@pytest.mark.parametrize(
    "first", [reset, b"", b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"], ids=["reset", "end", "half"]
)
def test_a_lost_connection_is_made_again(connect: Connect, first: Answer) -> None:
    with scripted(first, GOOD) as server:
        assert connect(server.url).predict("a").prediction.score == 1.0


@pytest.mark.parametrize("answer", [http(503, BUSY), http(429, BUSY), PAGE, reset], ids=["503", "429", "page", "reset"])
def test_a_step_of_a_session_is_never_sent_twice(connect: Connect, answer: Answer) -> None:
    """The service may have moved the state of the session already; only a connection that never was is tried again."""
    with scripted(answer) as server:
        with pytest.raises(ClientError):
            connect(server.url).generate("a", session="mine")
        with pytest.raises(ClientError):
            next(connect(server.url).generate_stream("a", session="mine"))
    assert len(server.requests) == 2


def test_a_server_that_stays_busy_is_given_up(connect: Connect) -> None:
    with scripted(http(429, BUSY, x_request_id="r-1")) as server, pytest.raises(Overloaded) as caught:
        connect(server.url).predict("a")
    assert len(server.requests) == 4
    error = caught.value
    assert (error.status, error.code, error.request_id) == (429, "overloaded", "r-1")


def test_a_pause_beyond_the_timeout_is_not_begun(connect: Connect) -> None:
    """The error says how long the service asks to wait."""
    later = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    told = {"error": "no more", "error_type": "rate_limited"}
    with scripted(http(429, told, retry_after="3600"), http(429, told, retry_after=later)) as server:
        client = connect(server.url)
        for _ in range(2):
            with pytest.raises(RateLimited) as caught:
                client.predict("a")
            assert caught.value.retry_after_s == pytest.approx(3600, abs=PATIENCE_S)
    assert len(server.requests) == 2


def test_the_service_is_told_how_long_the_client_waits(connect: Connect) -> None:
    with scripted(GOOD) as server:
        connect(server.url, timeout=7.5).predict("a")
    assert b"X-Request-Timeout-Ms: 7" in server.requests[0]


@pytest.mark.parametrize("answer", [silent, drip], ids=["silent", "drip"])
def test_a_slow_answer_ends_with_the_timeout(connect: Connect, answer: Answer) -> None:
    """Also one that sends a byte now and then."""
    with scripted(answer) as server, pytest.raises(TimedOut):
        connect(server.url, timeout=0.3).predict("a")


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (http(200, PAGE, content_type="text/html"), "answered 200 with a web page"),
        (http(404, b"<h1>Not found</h1>"), "answered 404 with a web page"),
        (http(204, b""), "answered 204 without content"),
        (http(200, b""), "answered 200 without content"),
        (http(200, b"It works", content_type="text/plain"), "answered 200 with text/plain: 'It works'"),
        (http(200, b"[" * 200_000), "answered 200 with application/json"),
        (http(200, ["a"]), "answered 200 with application/json"),
        (http(200, {"predictions": "x"}), "did not answer with one prediction for each input"),
        (http(200, {"predictions": []}), "did not answer with one prediction for each input"),
        (http(200, {"predictions": [{"label": 1}], "task": "classification"}), "without a valid model"),
        (http(500, {"message": "no"}), "answered 500 with application/json"),
        (http(301, b"", location="https://example.org/"), "a redirect to https://example.org/: give that address"),
        (http(308, b""), "a redirect to another address"),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "did not answer in HTTP"),
        (http(200, b"no gzip", content_encoding="gzip"), "is it an Unroll server?"),
        (http(200, gzip.compress(b" " * 3_000_000), content_encoding="gzip"), "answered more than 1,000,000 bytes"),
        (http(200, b"1" * 1_000_001), "answered more than 1,000,000 bytes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_answer_of_another_program_is_one_sentence(connect: Connect, answer: bytes, what: str) -> None:
    with scripted(answer) as server, pytest.raises(ForeignAnswer) as caught:
        connect(server.url, max_answer_bytes=1_000_000).predict("a")
    assert what in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert len(server.requests) == 1


@pytest.mark.parametrize("headers", [{"version": "1.0"}, {"version": "1.0", "content_length": ""}])
def test_a_server_of_http_1_0_is_understood(connect: Connect, headers: dict[str, str]) -> None:
    body = {"model": "m", "version": "1", "task": "new", "predictions": [{"colour": "red"}], "more": True}
    with scripted(http(200, body, **headers)) as server:
        answer = connect(server.url).predict("a")
    assert answer.prediction.colour == "red"
    assert answer.model_extra == {"more": True}


def test_an_error_of_an_unknown_kind_keeps_all_that_was_said(connect: Connect) -> None:
    told = {"error": "a\n teapot", "error_type": "teapot", "detail": "no list", "request_id": "r", "colour": "red"}
    with scripted(http(418, told)) as server, pytest.raises(ServiceError) as caught:
        connect(server.url).health()
    error = caught.value
    assert (str(error), error.status, error.code, error.fields, error.request_id) == (
        "a teapot",
        418,
        "teapot",
        (),
        "r",
    )
    assert error.body["colour"] == "red"


def test_not_ready_is_an_answer_of_health_and_an_error_elsewhere(connect: Connect) -> None:
    loading = http(503, {"status": "not_ready", "reasons": ["spam-en is loading"]})
    refused = http(503, {"error": "loading", "error_type": "not_ready", "reasons": ["spam-en is loading"]})
    with scripted(loading, refused) as server:
        client = connect(server.url, retries=0)
        health = client.health()
        assert (health.is_ready, health.reasons) == (False, ["spam-en is loading"])
        with pytest.raises(NotReady) as caught:
            client.predict("a")
    assert caught.value.reasons == ("spam-en is loading",)


@pytest.mark.parametrize(
    "url", ["localhost:8000", "http://[bad", "ftp://x", "http://", "", "http://a:x", "http://a/?b=1"]
)
def test_what_is_no_address_is_refused_at_once(connect: Connect, url: str) -> None:
    with pytest.raises(InvalidAddress) as caught:
        connect(url)
    assert str(caught.value).startswith(url)


def test_where_nothing_listens_the_connection_is_tried_again(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted(GOOD) as server:
        url = server.url
    with noted_pauses(monkeypatch) as pauses:
        with pytest.raises(ConnectionFailed) as caught:
            connect(url).generate("a", session="mine")
        assert (caught.value.was_sent, len(pauses)) == (False, 3)
        with pytest.raises(ConnectionFailed):
            connect(url, retries=Retries(connections=False)).predict("a")
        with pytest.raises(ConnectionFailed), connect(url).stream("m"):
            pass
        assert len(pauses) == 6


@pytest.mark.parametrize(
    ("answer", "kind", "what"),
    [
        (http(200, PAGE, content_type="text/html"), ForeignAnswer, "with a web page"),
        (http(200, {"generated_text": "a"}), ForeignAnswer, "without a stream of events"),
        (events("no json"), ForeignAnswer, "no JSON"),
        (events('"text"'), ForeignAnswer, "no object"),
        (events('{"index":1}'), ForeignAnswer, "without a valid token"),
        (events(FIRST, '{"error":"step failed","error_type":"generation"}'), InferenceFailed, "step failed"),
        (events(FIRST, end=b"data:" + b"x" * 100_000), ForeignAnswer, "larger than 50,000 bytes"),
        (events(FIRST), StreamBroken, "ended before the last event"),
        (events(FIRST, end=b'data:{"index":2'), StreamBroken, "ended before the last event"),
    ],
)
def test_a_stream_that_is_none_or_breaks_is_a_clear_error(
    connect: Connect, answer: bytes, kind: type[ClientError], what: str
) -> None:
    with scripted(answer) as server, pytest.raises(kind) as caught:
        list(connect(server.url, max_answer_bytes=50_000).generate_stream("a", resume=False))
    assert what in str(caught.value)


def test_events_are_read_whatever_ends_their_lines(connect: Connect) -> None:
    """CRLF, comments, several lines of data, and characters that only some take for the end of a line."""
    whole = events(FIRST.replace('"a"', '"\u2028\x85"')).replace(b"\n\n", b"\r\n\r\n") + b": ping\n\nevent: x\n"
    split = LAST.replace(",", ",\n", 1).split("\n")
    with scripted(whole + b"".join(b"data: " + line.encode() + b"\n" for line in split) + b"\n") as server:
        found = list(connect(server.url).generate_stream("a"))
    assert [event.token.text for event in found] == ["\u2028\x85", "a"]
    assert found[-1].generated_text == "aa"


def test_a_websocket_that_is_refused_is_the_error_of_the_answer(connect: Connect) -> None:
    refused = http(503, {"error": "stopping", "error_type": "not_ready"}, retry_after="0")
    with scripted(refused, http(404, PAGE)) as server:
        with pytest.raises(ForeignAnswer, match="404 with a web page"), connect(server.url).stream("m"):
            pass
        assert len(server.requests) == 2
    with scripted(http(302, b"", location="http://127.0.0.1:9/stream")) as server:
        with pytest.raises(ForeignAnswer, match="a redirect"), connect(server.url).stream("m"):
            pass
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2", 2.0), ("0.5", 0.5), ("-1", None), ("nan", None), ("soon", None), ("", None), ("inf", None)],
)
def test_retry_after_in_seconds(text: str, seconds: float | None) -> None:
    assert retry_after_s({"retry-after": text}) == seconds


def test_retry_after_as_a_date_in_the_past_is_no_wait() -> None:
    assert retry_after_s({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0.0


def test_pauses_are_drawn_from_all_of_a_growing_range() -> None:
    """Full jitter: below the doubling limit, never above the longest pause, and not always the same."""
    retries = Retries(times=100, first_pause_s=1.0, longest_pause_s=8.0)
    attempts = Attempts(retries, Deadline(None))
    pauses = [attempts.pause_s(Overloaded("busy", status=429), repeatable=True) for _ in range(100)]
    assert all(pause <= min(8.0, 2.0**number) for number, pause in enumerate(pauses))
    assert len(set(pauses)) > 90
    assert min(pauses) < 2.0 < 6.0 < max(pauses)
