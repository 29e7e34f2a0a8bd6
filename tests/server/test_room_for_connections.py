"""Too many connections, or too many bytes in bodies: who keeps the service waiting makes room for others."""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from service.errors import UnrollError
from service.observability.metrics import Metrics
from service.server import run
from service.server.open_connections import ConnectionLimits, OpenConnections, RoomReason
from service.settings import Settings
from tests.conftest import wait_until
from tests.live_server import held_runs, live_server, post, request

TAG = {"model": "tiny-tagger", "inputs": "The cat sat."}
WHOLE = post("/predict", TAG)
ENDED = "unroll_connections_ended_total"
HELD = "unroll_held_body_bytes"


UNFINISHED = {"silent": b"", "half a head": WHOLE[:40], "half a body": WHOLE[:-5]}


@pytest.mark.parametrize("what", UNFINISHED)
def test_connections_that_wait_make_room_for_new_ones(tiny_models: Path, what: str) -> None:
    """Ten times as many as allowed never keep a client that asks from its answer."""
    with live_server(tiny_models, max_connections=10) as server, ExitStack() as stack:
        for _ in range(10):
            for _ in range(10):
                stack.enter_context(server.connect()).send(UNFINISHED[what])
            with server.connect() as asking:
                assert asking.ask(WHOLE).status == 200
            assert server.metric("unroll_connections") <= 11
        assert server.metric(ENDED, reason="too_many_connections") > 80
        assert server.metric("unroll_max_connections") == 10


def test_idle_connections_go_before_those_that_have_just_come(tiny_models: Path) -> None:
    """Who keeps connections open between requests may wait longest, and does not keep others out by that."""
    with live_server(tiny_models, max_connections=5, keep_alive_s=1000.0) as server, ExitStack() as stack:
        idle = [stack.enter_context(server.connect()) for _ in range(5)]
        assert [one.ask(WHOLE).status for one in idle] == [200] * 5
        fresh = []
        for number in range(4):
            fresh.append(stack.enter_context(server.connect()))
            wait_until(lambda number=number: server.metric(ENDED, reason="too_many_connections") == number + 1)
        assert [one.ask(WHOLE).status for one in fresh] == [200] * 4
        assert [one.is_closed() for one in idle[:4]] == [True] * 4
        assert idle[4].ask(WHOLE).status == 200


class WaitingConnection:
    """A connection that notes for what it was ended."""

    deadline_s, allowed_s, ended = math.inf, 0.0, ""

    def wait(self, now_s: float, allowed_s: float) -> WaitingConnection:
        self.deadline_s, self.allowed_s = now_s + allowed_s, allowed_s
        return self

    def end_late(self) -> None:
        self.ended = "timeout"

    def end_for_room(self, reason: RoomReason) -> None:
        self.ended = reason


def test_who_waits_longest_is_known_after_the_service_stood_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop of the service gives those that waited more time, and does not make them those that came last."""

    async def stand_still(open_connections: OpenConnections) -> list[str]:
        loop, stood_still_s = asyncio.get_running_loop(), [0.0]
        monkeypatch.setattr(loop, "time", lambda: time.monotonic() + stood_still_s[0])
        waiting, answered, newest = WaitingConnection(), WaitingConnection(), WaitingConnection()
        open_connections.admit(answered)
        stood_still_s[0] += 10.0
        open_connections.admit(waiting.wait(loop.time(), 20.0))
        await asyncio.sleep(0.01)  # the next turns of the loop find its timer due
        assert waiting.deadline_s > loop.time() + 20.0
        answered.wait(loop.time(), 20.0)
        open_connections.admit(newest.wait(loop.time(), 20.0))
        return [one.ended for one in (waiting, answered, newest)]

    open_connections = OpenConnections(ConnectionLimits(max_connections=2), Metrics(CollectorRegistry()))
    assert asyncio.run(stand_still(open_connections)) == ["too_many_connections", "", ""]


def test_a_connection_that_is_being_answered_makes_no_room(tiny_models: Path) -> None:
    """Where all are being answered, a new one gets 503 at once, and those are answered."""
    with live_server(tiny_models, max_connections=3) as server, ExitStack() as stack:
        with held_runs(server, "tiny-tagger"):
            asking = [stack.enter_context(server.connect()) for _ in range(3)]
            for connection in asking:
                connection.send(WHOLE)
            wait_until(lambda: server.app.num_open == 3)
            with server.connect() as refused:
                answer = refused.answer()
                assert (answer.status, answer.json["error_type"]) == (503, "overloaded")
                assert (answer.headers["retry-after"], answer.headers["connection"]) == ("1", "close")
                assert refused.is_closed()
        assert [connection.answer().status for connection in asking] == [200] * 3
        assert server.metric(ENDED, reason="too_many_connections") == 1


def test_bodies_that_do_not_grow_make_room_for_others(tiny_models: Path) -> None:
    """The first of the unfinished bodies get 429; large and small requests are answered."""
    limits = {"max_body_bytes": 100_000, "max_held_body_bytes": 500_000}
    head = request("POST", "/predict", content_type="application/json", content_length="100000")
    with live_server(tiny_models, **limits) as server, ExitStack() as stack:
        stalled = []
        for _ in range(12):
            stalled.append(stack.enter_context(server.connect()))
            stalled[-1].send(head + b" " * 90_000)
            wait_until(lambda: server.metric(HELD) % 90_000 == 0)
            assert server.metric(HELD) <= 500_000
        for _ in range(3):
            with server.connect() as asking:
                assert asking.ask(post("/predict", post("", TAG).rpartition(b"\r\n")[2].ljust(100_000))).status == 200
                assert asking.ask(WHOLE).status == 200
        first = stalled[0].answer()
        assert (first.status, first.json["error_type"], first.headers["retry-after"]) == (429, "overloaded", "1")
        assert server.metric(ENDED, reason="too_many_body_bytes") >= 7
    assert server.metric(HELD) == 0


def test_where_bodies_are_being_answered_large_ones_wait_and_small_ones_do_not(tiny_models: Path) -> None:
    limits = {"max_body_bytes": 100_000, "max_held_body_bytes": 150_000}
    large = post("/predict", post("", TAG).rpartition(b"\r\n")[2].ljust(100_000))
    with live_server(tiny_models, **limits) as server, server.connect() as first, server.connect() as second:
        with held_runs(server, "tiny-tagger"):
            first.send(large)
            wait_until(lambda: server.app.num_open == 1)
            refused = second.ask(large)
            assert (refused.status, refused.json["error_type"]) == (429, "overloaded")
            with server.connect() as small:
                small.send(WHOLE)
                wait_until(lambda: server.app.num_open == 2)
        assert first.answer().status == 200
        with server.connect() as again:
            assert again.ask(large).status == 200


def test_the_limit_on_open_files_is_raised_for_the_connections(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As far as the system allows; otherwise a warning says what is needed."""
    resource = pytest.importorskip("resource")
    limits = [(1_024, 2_000)]
    monkeypatch.setattr(resource, "getrlimit", lambda which: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda which, new: limits.append(new))
    run.allow_open_files(1_500)
    assert limits[-1] == (1_500, 2_000)
    assert caplog.messages == []
    run.allow_open_files(5_000)
    assert limits[-1] == (2_000, 2_000)
    assert "UNROLL_MAX_CONNECTIONS" in caplog.messages[0]
    run.allow_open_files(100)
    assert limits[-1] == (2_000, 2_000)


def test_a_body_larger_than_all_bodies_may_be_is_no_setting() -> None:
    with pytest.raises((ValueError, UnrollError), match="max_held_body_bytes"):
        Settings(max_body_bytes=10_000, max_held_body_bytes=5_000)
