"""The fast path for plain requests, over real sockets, with valid and invalid HTTP/1.1."""

from __future__ import annotations

import gc
import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PATIENCE_S, wait_until
from tests.live_server import Answer, Connection, LiveServer, live_server, post, request, runs_in_lanes
from tests.ports import free_port
from tests.tiny_bundles import copy_bundle

MAX_BODY_BYTES = 512 * 1024
TAG = {"model": "tiny-tagger", "inputs": "The cat sat."}
CLASSIFY = {"model": "tiny-classifier", "inputs": "hello world"}
GENERATE = {"inputs": "a", "parameters": {"max_new_tokens": 4}}
REQUESTS = "unroll_requests_total"


@pytest.fixture(scope="module")
def server(tiny_models: Path) -> Iterator[LiveServer]:
    with live_server(tiny_models, max_body_bytes=MAX_BODY_BYTES) as started:
        yield started


@pytest.fixture
def connection(server: LiveServer) -> Iterator[Connection]:
    server.short_paths.clear()
    with server.connect() as opened:
        yield opened


def predictions(answer: Answer) -> Any:
    assert answer.status == 200, answer
    return answer.json["predictions"]


def test_one_connection_takes_many_requests(server: LiveServer, connection: Connection) -> None:
    first = predictions(connection.ask(post("/predict", TAG)))
    for _ in range(49):
        assert predictions(connection.ask(post("/predict", TAG))) == first
    assert server.short_paths == ["/predict"] * 50


@pytest.mark.parametrize(
    "order",
    [
        ["tag", "classify"],
        ["tag", "live", "classify", "generate"],
        ["live", "tag", "tag"],
        ["generate", "missing", "tag", "live"],
        ["stream", "tag", "stream"],
    ],
    ids="-".join,
)
def test_pipelined_requests_are_answered_in_order(connection: Connection, order: list[str]) -> None:
    """Pipelined requests on the fast path, ASGI and other routes are answered in order, matched by request id."""
    makers = {
        "tag": lambda number: post("/predict", TAG, x_request_id=number),
        "classify": lambda number: post("/predict", CLASSIFY, x_request_id=number),
        "generate": lambda number: post("/generate", GENERATE, x_request_id=number),
        "stream": lambda number: post("/generate_stream", GENERATE, x_request_id=number),
        "live": lambda number: request("GET", "/health/live", x_request_id=number),
        "missing": lambda number: request("GET", "/nowhere", x_request_id=number),
    }
    connection.send(b"".join(makers[kind](f"{kind}-{number}") for number, kind in enumerate(order)))
    answers = [connection.answer() for _ in order]
    assert [answer.headers["x-request-id"] for answer in answers] == [f"{kind}-{n}" for n, kind in enumerate(order)]
    assert [answer.status for answer in answers] == [404 if kind == "missing" else 200 for kind in order]


@pytest.mark.parametrize("size", [1, 7, 64])
def test_a_request_may_come_in_segments_of_any_size(server: LiveServer, connection: Connection, size: int) -> None:
    """A request may be split into TCP segments anywhere in request line, headers and body."""
    whole = post("/predict", TAG)
    answer = connection.ask(*(whole[start : start + size] for start in range(0, len(whole), size)))
    assert predictions(answer) == predictions(connection.ask(whole))
    assert server.short_paths == ["/predict"] * 2


def test_a_large_body_in_segments_is_read_to_its_end(server: LiveServer, connection: Connection) -> None:
    """Reading resumes after the server's flow control pauses it at 64 KiB, so that large bodies are complete."""
    padded = json.dumps(TAG).encode().ljust(400_000)
    whole = post("/predict", padded)
    answer = connection.ask(*(whole[start : start + 40_000] for start in range(0, len(whole), 40_000)))
    assert predictions(answer) == predictions(connection.ask(post("/predict", TAG)))
    assert server.short_paths == ["/predict"] * 2


def test_a_body_in_chunks_goes_the_long_way_to_the_same_answer(server: LiveServer, connection: Connection) -> None:
    body = json.dumps(TAG).encode()
    chunks = [b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:5], body[5:])]
    head = request("POST", "/predict", content_type="application/json", transfer_encoding="chunked")
    chunked = connection.ask(head, *chunks, b"0\r\n\r\n")
    assert server.short_paths == []
    assert predictions(chunked) == predictions(connection.ask(post("/predict", TAG)))


def test_a_caller_that_expects_to_be_told_to_go_on_is_told(connection: Connection) -> None:
    whole = post("/predict", TAG, expect="100-continue")
    head, _, body = whole.partition(b"\r\n\r\n")
    assert connection.ask(head + b"\r\n\r\n").status == 100
    assert predictions(connection.ask(body))


@pytest.mark.parametrize("form", [{"version": "1.0"}, {"connection": "close"}], ids=str)
def test_a_connection_ends_after_the_answer_where_the_caller_says_so(
    connection: Connection, form: dict[str, str]
) -> None:
    answer = connection.ask(post("/predict", TAG, **form))
    assert predictions(answer)
    assert answer.headers["connection"] == "close"
    assert connection.is_closed()


def test_a_body_beyond_the_limit_is_refused_and_the_connection_stays_good(connection: Connection) -> None:
    answer = connection.ask(post("/predict", b" " * (MAX_BODY_BYTES + 1)))
    assert answer.status == 413
    assert answer.json["error_type"] == "body_too_large"
    assert predictions(connection.ask(post("/predict", TAG)))


@pytest.mark.parametrize(
    "wrong",
    [
        b"NONSENSE\r\n\r\n",
        b"POST /predict HTTP/9.9\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"POST /predict HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        b"POST /predict HTTP/1.1\r\nna me: x\r\n\r\n",
    ],
    ids=repr,
)
def test_what_is_not_http_gets_400_and_the_connection_ends(server: LiveServer, wrong: bytes) -> None:
    with server.connect() as connection:
        assert connection.ask(wrong).status == 400
        assert connection.is_closed()
    with server.connect() as connection:
        assert predictions(connection.ask(post("/predict", TAG)))


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD"])
def test_other_methods_are_refused(connection: Connection, method: str) -> None:
    connection.send(request(method, "/predict"))
    answer = connection.answer(has_body=method != "HEAD")
    assert answer.status == 405
    assert answer.headers["allow"] == "POST"
    assert predictions(connection.ask(post("/predict", TAG)))


def test_the_request_id_is_returned_or_made(connection: Connection) -> None:
    mine = connection.ask(post("/predict", TAG, x_request_id="mine-1"))
    none, bad = connection.ask(post("/predict", TAG)), connection.ask(post("/predict", TAG, x_request_id="not plain"))
    assert mine.headers["x-request-id"] == "mine-1"
    assert none.headers["x-request-id"] != bad.headers["x-request-id"] != "not plain"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/predict", TAG),
        ("/predict", {**CLASSIFY, "parameters": {"top_k": 3}}),
        ("/predict", {"model": "tiny-translator", "inputs": ["the cat", "hello"]}),
        ("/generate", {**GENERATE, "parameters": {"max_new_tokens": 5, "details": True}}),
        ("/predict", {"inputs": 3}),
        ("/predict", {"model": "absent", "inputs": "a"}),
        ("/predict", b"{"),
        ("/predict", b""),
        ("/generate", {**GENERATE, "inputs": " "}),
        ("/generate", {**GENERATE, "n": 0}),
    ],
    ids=str,
)
def test_both_ways_give_the_same_bytes(server: LiveServer, connection: Connection, path: str, body: Any) -> None:
    """The fast path and ASGI, selected by a question mark, give the same bytes except for timings."""
    short = connection.ask(post(path, body, x_request_id="same"))
    assert server.short_paths == [path]
    long = connection.ask(post(f"{path}?", body, x_request_id="same"))
    assert server.short_paths == [path]
    assert without_times(short) == without_times(long)


def without_times(answer: Answer) -> tuple[int, dict[str, str], bytes]:
    body = re.sub(rb'"timings":\{[^}]*\}', b'"timings":{}', answer.body)
    changing = re.compile(r"date|content-length|x-[a-z-]+-(time|token)")
    headers = {name: value for name, value in answer.headers.items() if not changing.fullmatch(name)}
    return answer.status, headers, body


@pytest.mark.parametrize("target", ["/predict", "/predict?"])
def test_a_caller_that_leaves_in_the_middle_of_a_body_is_counted(server: LiveServer, target: str) -> None:
    labels = {"model": "none", "task": "none", "outcome": "cancelled"}
    before = server.metric(REQUESTS, **labels)
    with server.connect() as connection:
        connection.send(post(target, TAG)[:-5])
    wait_until(lambda: server.metric(REQUESTS, **labels) > before)
    assert server.metric(REQUESTS, **labels) == before + 1


@pytest.mark.parametrize("target", ["/predict", "/predict?"])
def test_the_work_of_a_caller_that_leaves_is_dropped(
    server: LiveServer, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    """A disconnect is counted while its run is still in progress, and the next client is answered."""
    engine, gate, entered = server.engine("tiny-classifier"), threading.Event(), threading.Event()
    run = engine.opened.runner.run
    labels = {"model": "tiny-classifier", "task": "classification", "outcome": "cancelled"}
    before = server.metric(REQUESTS, **labels)

    def gated(*arguments: Any) -> Any:
        entered.set()
        assert gate.wait(PATIENCE_S)
        return run(*arguments)

    monkeypatch.setattr(engine.opened.runner, "run", gated)
    with runs_in_lanes(), server.connect() as leaving:
        leaving.send(post(target, CLASSIFY))
        assert entered.wait(PATIENCE_S)
        leaving.close()
        wait_until(lambda: server.metric(REQUESTS, **labels) == before + 1)
        with server.connect() as staying:
            staying.send(post(target, CLASSIFY))
            gate.set()
            assert predictions(staying.answer())
    wait_until(lambda: engine.num_pending == 0)


def test_who_does_not_read_is_cut_and_stalls_nobody(tiny_models: Path) -> None:
    """A client that does not read is disconnected after the stall timeout, and others are not delayed."""
    large = post("/predict", {"model": "tiny-tagger", "inputs": ["the cat sat on a mat " * 6] * 100})
    with (
        live_server(tiny_models, unread_timeout_s=0.2) as server,
        server.connect(receive_bytes=4096) as deaf,
        server.connect() as other,
    ):
        with pytest.raises(OSError):  # noqa: PT012 - the server closes the connection at some point
            for _ in range(1_000):
                deaf.send(large)
                assert predictions(other.ask(post("/predict", TAG)))
        assert predictions(other.ask(post("/predict", TAG)))
        wait_until(lambda: server.engine("tiny-tagger").num_pending == 0)
        assert server.metric("unroll_connections_ended_total", reason="unread") == 1


HELD_SERVER = """
import sys, time
from pathlib import Path
from service.inference.runtime.ort_runner import OrtRunner
from service.server.run import run_server
from service.settings import Settings

run = OrtRunner.run

def held(*arguments):
    while Path(sys.argv[3]).exists():
        time.sleep(0.01)
    return run(*arguments)

OrtRunner.run = held
run_server(Settings(models_dir=Path(sys.argv[1]), port=int(sys.argv[2]), device="cpu", lanes=1))
"""


def is_ready(port: int) -> bool:
    try:
        with Connection(port) as connection:
            return connection.ask(request("GET", "/health/ready")).status == 200
    except (OSError, ValueError):  # refused, or closed before it was asked
        return False


def test_accepted_requests_are_answered_after_sigterm(tmp_path: Path, tiny_models: Path) -> None:
    """On SIGTERM running requests and streams finish, idle connections close, and new connections are refused."""
    for name in ("tiny-classifier", "tiny-generator"):
        copy_bundle(tiny_models / name / "1", tmp_path / "models")
    port, hold = free_port(), tmp_path / "hold"
    process = subprocess.Popen([sys.executable, "-c", HELD_SERVER, str(tmp_path / "models"), str(port), str(hold)])
    with ExitStack() as stack:
        stack.callback(end, process)
        wait_until(lambda: is_ready(port))
        idle, streaming, *asking = [stack.enter_context(Connection(port)) for _ in range(6)]
        assert idle.ask(request("GET", "/health/live")).status == 200
        hold.touch()
        streaming.send(post("/generate_stream", {"inputs": "a", "parameters": {"max_new_tokens": 12}}))
        for connection in asking:
            connection.send(post("/predict", CLASSIFY))
        wait_until(lambda: b"\nunroll_open_requests 6.0\n" in idle.ask(request("GET", "/metrics")).body)
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: not is_ready(port))
        hold.unlink()
        first, *others = [predictions(connection.answer()) for connection in asking]
        assert others == [first] * 3
        assert streaming.answer().body.count(b"data:") == 12
        assert idle.is_closed()
        wait_until(lambda: process.poll() is not None)
        with pytest.raises(ConnectionRefusedError):
            Connection(port)


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait(PATIENCE_S)


def test_one_request_too_many_is_refused_at_once_and_the_connection_stays(tiny_models: Path) -> None:
    """A request over the limit of open requests gets a 429 at once, and its connection can be used again."""
    begun, go_on = threading.Event(), threading.Event()
    with live_server(tiny_models, max_open_requests=1) as server, ExitStack() as stack:
        run = server.app.state.registry.find("predict", "tiny-tagger", None).opened.runner

        def held(*arguments: Any, original: Any = run.run) -> Any:
            begun.set()
            assert go_on.wait(PATIENCE_S)
            return original(*arguments)

        run.run = held
        first, second = (stack.enter_context(server.connect()) for _ in range(2))
        first.send(post("/predict", TAG))
        assert begun.wait(PATIENCE_S)
        refused = second.ask(post("/predict", TAG))
        go_on.set()
        assert predictions(first.answer()) == predictions(second.ask(post("/predict", TAG)))
    assert (refused.status, refused.json["error_type"], refused.headers["retry-after"]) == (429, "overloaded", "1")


def test_requests_leave_nothing_to_the_garbage_collector(connection: Connection) -> None:
    """Requests create no reference cycles, so that garbage collection does not pause the service."""
    bodies = [post("/predict", TAG), post("/generate", GENERATE)]
    for body in bodies * 5:
        assert connection.ask(body).status == 200
    gc.collect()
    gc.disable()
    try:
        for body in bodies * 20:
            assert connection.ask(body).status == 200
        assert gc.collect() < 40, "less than one object for each request"
    finally:
        gc.enable()
