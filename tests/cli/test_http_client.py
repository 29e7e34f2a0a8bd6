"""The command line and servers of every kind: busy ones are asked again, others get one plain sentence."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from service.cli.http_client import request_json
from service.cli.prediction.answers import RefusedInput
from service.errors import UnrollError

#: Status, headers and body.
Answer = tuple[int, dict[str, str], bytes]
JSON = {"Content-Type": "application/json"}


@contextmanager
def server(answer: Callable[[int], Answer]) -> Iterator[tuple[str, list[int]]]:
    """The address of a server that gives the answer to the number of each request, and those numbers."""
    asked: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            asked.append(len(asked))
            status, headers, body = answer(asked[-1])
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.server_port}", asked
    listening.shutdown()
    listening.server_close()


def error_of(answer: Answer) -> UnrollError:
    with server(lambda _: answer) as (url, _), pytest.raises(UnrollError) as caught:
        request_json(url, "POST", "/predict", {}, 10.0)
    assert len(str(caught.value).splitlines()) == 1
    return caught.value


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_busy_server_is_asked_again(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a gateway answers with a page; the pause is the longer of the server's wish and the client's."""
    slept: list[float] = []
    monkeypatch.setattr("service.client.retries.sleep", slept.append)
    busy: Answer = (status, {"Retry-After": "3", "Content-Type": "text/html"}, b"<html>busy</html>")
    with server(lambda number: busy if number < 2 else (200, JSON, b'{"predictions": []}')) as (url, asked):
        assert request_json(url, "POST", "/predict", {}, 10.0) == {"predictions": []}
    assert (asked, slept) == ([0, 1, 2], [3.0, 3.0])


def test_a_server_that_stays_busy_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.client.retries.sleep", lambda _: None)
    assert "too many requests" in str(error_of((429, JSON, b'{"error": "too many requests"}')))


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        ((200, {"Content-Type": "text/html"}, b"<!DOCTYPE html><title>Log in</title>"), "answered 200 with a web page"),
        ((404, {"Content-Type": "text/html"}, b"<h1>Not found</h1>"), "answered 404 with a web page"),
        ((204, {}, b""), "answered 204 without content"),
        ((200, JSON, b""), "answered 200 without content"),
        ((200, {"Content-Type": "text/plain"}, b"It works"), "answered 200 with text/plain: 'It works'"),
        ((200, JSON, b'["a"]'), "answered 200 with application/json"),
        ((500, JSON, b'{"message": "no"}'), "answered 500 with application/json"),
        ((301, {"Location": "https://example.org/"}, b""), "a redirect to https://example.org/: give that address"),
        ((308, {}, b""), "a redirect to another address"),
        ((401, JSON, b'{"error": "a key is needed"}'), "a key is needed"),
        ((404, JSON, b'{"error": "there is no such model"}'), "there is no such model"),
    ],
)
def test_any_other_answer_is_one_sentence(answer: Answer, what: str) -> None:
    error = error_of(answer)
    assert what in str(error)
    assert not isinstance(error, RefusedInput)


def test_refused_inputs_are_told_from_refused_parameters() -> None:
    """Another input may pass, but with a wrong parameter none does."""
    assert isinstance(error_of((413, JSON, b'{"error": "too large"}')), RefusedInput)
    assert isinstance(
        error_of((422, JSON, b'{"error": "e", "detail": [{"field": "inputs.2", "message": "e"}]}')), RefusedInput
    )
    wrong = error_of((422, JSON, b'{"error": "e", "detail": [{"field": "parameters.top_k", "message": "e"}]}'))
    assert not isinstance(wrong, RefusedInput)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9", "http://no.such.host.invalid", "localhost:8000", "http://[bad", "ftp://x"]
)
def test_an_address_without_a_server_is_one_sentence(url: str) -> None:
    with pytest.raises(UnrollError) as caught:
        request_json(url, "GET", "/models", None, 5.0)
    assert str(caught.value).startswith(url)
