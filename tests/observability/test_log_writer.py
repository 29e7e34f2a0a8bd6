"""The log never blocks or fails a request, whatever becomes of the file or pipe that it goes to."""

from __future__ import annotations

import errno
import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from service.observability.json_logs import LoggedStream, QueueHandler, dropped_notice, log_request
from service.observability.log_writer import LogWriter, keep_standard_error
from tests.conftest import PATIENCE_S, wait_until
from tests.live_server import Connection, post, request
from tests.ports import free_port
from tests.tiny_bundles import write_tiny_bundle

LINE = "x" * 99  # 100 bytes with its end


def read_lines(descriptor: int, num_lines: int) -> list[str]:
    """Read a pipe until it has given so many lines."""
    data = b""
    os.set_blocking(descriptor, False)
    while data.count(b"\n") < num_lines:
        assert select.select([descriptor], [], [], PATIENCE_S)[0], f"nothing more after {len(data)} bytes"
        data += os.read(descriptor, 65_536)
    return data.decode().splitlines()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        with suppress(OSError):  # the test has closed it
            os.close(end)


@pytest.mark.parametrize("blocks", [True, False])
def test_lines_beyond_the_queue_are_dropped_counted_and_told(pipe: tuple[int, int], blocks: bool) -> None:
    """Nobody reads the pipe: lines are taken without waiting; later the gap is told where it is, with its size."""
    reading, writing = pipe
    os.set_blocking(writing, blocks)
    writer = LogWriter(writing, dropped_notice, max_queue_bytes=20_000)
    for _ in range(3_000):
        writer.add(LINE)
    num_dropped = writer.num_dropped
    assert num_dropped > 3_000 - (20_000 + 65_536 + 2 * 65_536) // 100
    writer.add("urgent", is_urgent=True)  # room is left for those
    assert writer.num_dropped == num_dropped
    lines = read_lines(reading, 3_000 - num_dropped + 2)
    notices = [json.loads(line) for line in lines if line.startswith("{")]
    assert sum(notice["num_lines"] for notice in notices) == num_dropped
    assert notices[0]["message"] == "log lines were dropped"
    assert "urgent" in lines


def test_a_file_that_fails_is_tried_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Disk full, limit of size, closed reader, I/O error, closed file: what waited is written when it works again."""
    fails = [OSError(number, os.strerror(number)) for number in (errno.ENOSPC, errno.EIO, errno.EPIPE, errno.EBADF)]
    written = os.write

    def write(descriptor: int, data: bytes) -> int:
        if fails:
            raise fails.pop()
        return written(descriptor, data[:3])  # and never all at once

    monkeypatch.setattr("service.observability.log_writer.os.write", write)
    with (tmp_path / "log").open("wb") as file:
        writer = LogWriter(file.fileno(), dropped_notice)
        writer.add("first")
        writer.add("second")
        assert writer.flush(PATIENCE_S)
        assert (tmp_path / "log").read_text() == "first\nsecond\n"
        assert writer.num_dropped == 0


class Hostile:
    """A value that can be neither written as JSON nor as text."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


@pytest.mark.parametrize(
    "log",
    [
        lambda logger: logger.warning("half a pair \ud800"),
        lambda logger: logger.warning("wrong %d", "number"),
        lambda logger: logger.warning("x", extra={"value": Hostile()}),
        lambda logger: logger.warning("x", extra={"value": {Hostile(): 1}}),
        lambda logger: log_request(logger, logging.WARNING, {"texts": ["\udfff"]}),
        lambda logger: log_request(logger, logging.WARNING, {"texts": [Hostile()]}),
    ],
)
def test_what_cannot_be_written_raises_nothing(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch, log: Callable[[logging.Logger], None]
) -> None:
    """A record that cannot be formatted is a line without it, or a counted loss, never an error of the caller."""
    writer = LogWriter(pipe[1], dropped_notice)
    monkeypatch.setattr(logging.getLogger(), "handlers", [QueueHandler(writer)])
    log(logging.getLogger("hostile"))
    (line,) = read_lines(pipe[0], 1)
    assert line
    assert line.startswith(("{", "half", "wrong", "x"))


def test_what_is_printed_becomes_lines(caplog: pytest.LogCaptureFixture) -> None:
    stream = LoggedStream(logging.getLogger("print"))
    print("one", "two", file=stream)
    print("begun", end="", file=stream)
    print(" and ended\n\n", file=stream)
    assert [vars(record)["text"] for record in caplog.records] == ["one two", "begun and ended"]


def test_a_closed_standard_error_is_replaced_by_the_null_device(pipe: tuple[int, int]) -> None:
    """The number of the closed descriptor is taken, so that no model file or connection can get it."""
    os.close(pipe[1])
    kept = keep_standard_error(pipe[1])
    assert os.fstat(pipe[1]).st_rdev == os.fstat(kept).st_rdev == Path(os.devnull).stat().st_rdev
    os.close(kept)


def test_what_a_library_prints_itself_does_not_block(pipe: tuple[int, int]) -> None:
    """The public number of a pipe is made non-blocking, and the private one of the writer stays as it was."""
    kept = keep_standard_error(pipe[1])
    assert (os.get_blocking(kept), os.get_blocking(pipe[1])) == (True, not Path("/proc/self/fd").exists())
    os.close(kept)


FORMS = ["unread pipe", "closed pipe", "non-blocking pipe", "/dev/full", "unread socket", "unread terminal", "closed"]
REQUESTS = 250  # their lines are more than a pipe, a small socket or a terminal holds


@pytest.mark.parametrize("form", FORMS)
def test_a_service_answers_whatever_becomes_of_its_standard_error(tmp_path: Path, form: str) -> None:
    """Every request is answered, liveness too, and the service stops when it is told to."""
    write_tiny_bundle(tmp_path, "tagging")
    ends = descriptors(form)
    port = free_port()
    command = [sys.executable, "-m", "service", "serve", "--port", str(port)]
    if form == "closed":
        command = ["/bin/sh", "-c", 'exec "$@" 2>&-', "sh", *command]
    environment = {**os.environ, "UNROLL_MODELS_DIR": str(tmp_path), "UNROLL_DEVICE": "cpu", "UNROLL_LANES": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=ends[-1])
    try:
        if form == "closed pipe":
            os.close(ends.pop(0))
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S) as client:
            wait_until(lambda: is_ready(client))
        with Connection(port) as connection:
            asked = post("/predict", {"inputs": "the cat", "model": "tiny-tagger"})
            assert {connection.ask(asked).status for _ in range(REQUESTS)} == {200}
            assert connection.ask(request("GET", "/health/live")).status == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == -signal.SIGTERM
    finally:
        process.kill()
        process.wait()
        for end in ends:
            os.close(end)


def descriptors(form: str) -> list[int]:
    """Both ends of what standard error leads to; the last is given to the service."""
    if form == "/dev/full":
        return [os.open(form, os.O_WRONLY)]
    if form == "unread terminal":
        return list(os.openpty())
    if form == "unread socket":
        near, far = socket.socketpair()
        far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        return [near.detach(), far.detach()]
    if form == "closed":
        return [os.open(os.devnull, os.O_WRONLY)]
    ends = list(os.pipe())
    os.set_blocking(ends[1], form != "non-blocking pipe")
    return ends


def is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/health/ready").status_code == 200
    except httpx.TransportError:
        return False


def test_the_last_lines_are_written_before_a_signal_ends_the_process(tmp_path: Path) -> None:
    """What happened until SIGTERM is in the log, warnings and errors of threads included."""
    write_tiny_bundle(tmp_path, "tagging")
    log = tmp_path / "log"
    port = free_port()
    environment = {**os.environ, "UNROLL_MODELS_DIR": str(tmp_path), "UNROLL_DEVICE": "cpu", "UNROLL_LANES": "1"}
    with log.open("wb") as file:
        command = [sys.executable, "-m", "service", "serve", "--port", str(port)]
        process = subprocess.Popen(command, env=environment, stderr=file)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S) as client:
        wait_until(lambda: is_ready(client))
    process.send_signal(signal.SIGTERM)
    process.wait(PATIENCE_S)
    messages = [json.loads(line)["message"] for line in log.read_text().splitlines()]
    assert messages[-1].startswith("Finished server process")
