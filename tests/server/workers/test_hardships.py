"""What the supervisor and its folder do where the system has no room, no process, or no time for them."""

from __future__ import annotations

import fcntl
import socket
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge

from service.observability.scrape.exposition import Exposition
from service.server.workers import supervisor as supervising
from service.server.workers import worker_table
from service.server.workers.group_folder import group_folder
from service.server.workers.published_metrics import MetricsFile, keep_of_ended, read_all
from service.server.workers.supervisor import Supervisor
from service.server.workers.worker_peers import WorkerPeers
from service.server.workers.worker_process import WorkerProcess, end_of
from service.server.workers.worker_table import WorkerState
from service.settings import Settings, SettingsError
from service.worker_group import WorkerGroup


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    """One that serves nothing: none of its workers has been started."""
    with socket.socket() as listening:
        yield Supervisor(Settings(max_run_s=60), 2, tmp_path, listening, lambda _: None)


class Clock:
    """A clock that moves when it is told to, in place of `time` of a module."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s

    def monotonic_ns(self) -> int:
        return round(self.now_s * 1e9)


def test_counters_of_a_worker_that_ended_outlive_a_folder_without_room(tmp_path: Path) -> None:
    """They are shown, without its gauges, and added to the others once there is room."""
    obstacle = tmp_path / "metrics-ended-all.new"
    obstacle.mkdir()
    _publish(tmp_path)
    with pytest.raises(OSError):
        keep_of_ended(tmp_path, 1)
    assert "done_total 3.0" in _shown(tmp_path)
    obstacle.rmdir()
    _publish(tmp_path)
    keep_of_ended(tmp_path, 1)
    assert {"done_total 6.0", "unroll_worker_restarts_total 1.0"} <= set(_shown(tmp_path))
    assert not [line for line in _shown(tmp_path) if line.startswith("now")]
    assert [path.name for path in tmp_path.glob("metrics-*.json")] == ["metrics-ended-all.json"]


def test_metrics_that_cannot_be_written_stay_as_they_were(tmp_path: Path) -> None:
    _publish(tmp_path)
    (tmp_path / "metrics-1.new").mkdir()
    _publish(tmp_path, num_done=5)
    assert "done_total 3.0" in _shown(tmp_path)


def test_a_folder_that_cannot_be_locked_is_not_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with TemporaryDirectory() as parent:  # its name is short, as sockets need
        with pytest.raises(SettingsError, match="No space left"), group_folder(Path(parent)):
            pass
        assert not list(Path(parent).iterdir())


def test_workers_that_cannot_be_forked_are_tried_again(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    """As often as those that die at once: a moment without memory or processes does not end the service."""
    tried: list[int] = []

    def refuse(group: Any, *_: Any) -> WorkerProcess:
        tried.append(group.index)
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(supervising, "start_worker", refuse)
    monkeypatch.setattr(supervising, "_FIRST_PAUSE_S", 0.0)
    with pytest.raises(OSError, match="6 ended before one was ready; Resource temporarily unavailable"):
        supervisor.run()
    assert sorted(tried) == [0, 0, 0, 1, 1, 1]


def test_workers_that_were_stopped_with_their_supervisor_are_not_taken_for_hung(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After Ctrl-Z or `docker pause` they have as long to give a sign of life as ever, and are killed after that."""
    clock, killed = Clock(), []
    monkeypatch.setattr(supervising, "time", clock)
    monkeypatch.setattr(worker_table, "time", clock)
    worker: Any = SimpleNamespace(index=0, must_end_s=0.0, kill=lambda: killed.append(clock.now_s))
    supervisor._workers[0] = worker
    supervisor._table.enter(0, WorkerState.READY)
    supervisor._end_overdue()
    clock.now_s += 3600
    supervisor._end_overdue()
    assert not killed
    for _ in range(61):
        clock.now_s += 1
        supervisor._end_overdue()
    assert killed == [1000.0 + 3600 + 61]


def test_without_room_a_model_is_unloaded_in_the_workers_that_are_there(tmp_path: Path) -> None:
    """And what is loaded again is not taken for unloaded, since that needs no room."""
    peers = WorkerPeers(WorkerGroup(0, 2, tmp_path))
    peers.keep_unloaded([("pos-en", "1")])
    (tmp_path / "unloaded.new").mkdir()
    peers.keep_unloaded([("pos-en", "1"), ("ner-en", "1")])
    assert peers.kept_unloaded() == [("pos-en", "1")]
    peers.keep_unloaded([])
    assert peers.kept_unloaded() == []


def test_any_signal_can_end_a_worker() -> None:
    """Also one of real time, which has no name."""
    assert [end_of(code) for code in (1, -9, -40)] == ["exit status 1", "signal SIGKILL", "signal 40"]


def _publish(folder: Path, num_done: int = 3) -> None:
    """Metrics of worker 1."""
    registry = CollectorRegistry()
    Counter("done", "Done.", registry=registry).inc(num_done)
    Gauge("now", "Now.", registry=registry).set(1)
    MetricsFile(folder, 1, registry).publish()


def _shown(folder: Path) -> list[str]:
    return Exposition().write(read_all(folder, own=0), "")[0].decode().splitlines()
