"""Two workers behind one port: connections, commands, metrics, readiness, and the death of one of them."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import pytest

from service.server.workers.group_folder import group_folder
from service.server.workers.worker_table import WorkerState
from service.settings import SettingsError
from tests.conftest import PATIENCE_S, wait_until
from tests.live_server import Connection, post
from tests.server.workers.service_process import ServiceProcess, service_process
from tests.tiny_bundles import write_tiny_bundle

ASKED = post("/predict", {"model": "tiny-classifier", "inputs": "a b"})
OK = 'unroll_requests_total{model="tiny-classifier",outcome="ok",task="classification"}'


@pytest.fixture(scope="module")
def models(tiny_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(tiny_models / "tiny-classifier", folder / "tiny-classifier")
    return folder


@pytest.fixture(scope="module")
def service(models: Path) -> Iterator[ServiceProcess]:
    with TemporaryDirectory() as folder, service_process(models, Path(folder)) as started:
        yield started


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short name, as sockets need."""
    with TemporaryDirectory() as made:
        yield Path(made)


def ask(service: ServiceProcess, index: int, request: bytes = ASKED) -> int:
    """Send a request to one worker; the status of its answer."""
    with service.connect_to(index) as connection:
        return connection.ask(request).status


def test_connections_are_spread_evenly_and_all_workers_answer(service: ServiceProcess) -> None:
    """Each goes to the worker with the fewest; of those that come at once, workers that accept at once may err by one.

    So each is opened when the one before is counted.
    """
    opened: list[Connection] = []
    try:
        for num_opened in range(1, 7):
            opened.append(Connection(service.port))
            assert opened[-1].ask(ASKED).status == 200
            wait_until(lambda num_open=num_opened: sum(service.connections) == num_open)
        assert service.connections == [3, 3]
    finally:
        for one in opened:
            one.close()


def test_metrics_are_those_of_all_workers_whoever_is_asked(service: ServiceProcess) -> None:
    before = service.metric(OK)
    assert [ask(service, index) for index in (0, 1, 1)] == [200] * 3
    for index in (0, 1):
        with service.connect_to(index) as connection:
            text = connection.ask(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n").body.decode()
        assert f"{OK} {before + 3}" in text
        assert "\nunroll_workers 2.0\n" in text
        assert "\nunroll_lanes 2.0\n" in text
        assert "\nunroll_max_open_requests 1024.0\n" in text


def test_a_command_to_one_worker_reaches_all_and_those_that_come_later(service: ServiceProcess, models: Path) -> None:
    assert httpx.post(f"{service.url}/models/tiny-classifier/unload", json={}).status_code == 200
    assert [ask(service, index) for index in (0, 1)] == [503, 503]
    kill_and_await(service, 1)
    assert ask(service, 1) == 503
    assert httpx.post(f"{service.url}/models/tiny-classifier/load", json={}).status_code == 200
    assert [ask(service, index) for index in (0, 1)] == [200, 200]


def test_a_reload_at_one_worker_reaches_all(service: ServiceProcess, models: Path) -> None:
    """A version that was copied into the folder is listed by both workers, as its alias is."""
    write_tiny_bundle(models, "classification", version="2", seed=1)
    assert httpx.post(f"{service.url}/reload").json()["outcome"] == "ok"
    change = {"aliases": {"canary": "2"}}
    assert httpx.post(f"{service.url}/models/tiny-classifier/rollout", json=change).status_code == 200
    body = {"model": "tiny-classifier", "version": "canary", "inputs": "a b"}
    assert [ask(service, index, post("/predict", body)) for index in (0, 1)] == [200, 200]


def test_one_killed_under_load_takes_only_its_requests_with_it(service: ServiceProcess) -> None:
    """Callers of the other worker see nothing, counters do not go back, and the worker is replaced."""
    with callers(service, per_worker=2) as load:
        wait_until(lambda: min(load.num_answered) > 5)
        counted, restarts = service.metric(OK), service.metric("unroll_worker_restarts_total")
        kill_and_await(service, 0)
        seen = list(load.num_answered)
        wait_until(lambda: min(map(int.__sub__, load.num_answered, seen)) > 5)
    assert load.closed == {0}
    assert not load.failures
    assert service.metric(OK) >= counted
    assert service.metric("unroll_worker_restarts_total") == restarts + 1
    assert service.metric("unroll_workers") == 2


def test_a_worker_that_hangs_is_named_and_holds_up_neither_scrape_nor_commands(service: ServiceProcess) -> None:
    os.kill(service.pids[1], signal.SIGSTOP)
    try:
        wait_until(lambda: service.table.silent_s(1) > 6)
        with service.connect_to(0) as connection:
            answer = connection.ask(b"GET /health/ready HTTP/1.1\r\nHost: test\r\n\r\n")
            assert answer.status == 200
            assert answer.json["reasons"][0].startswith("worker 1 has not answered for ")
            assert service.metric("unroll_workers") == 1
            answer = connection.ask(post("/models/tiny-classifier/load", {}))
            assert (answer.status, "worker 1 does not answer" in answer.json["error"]) == (503, True)
    finally:
        os.kill(service.pids[1], signal.SIGCONT)
    wait_until(lambda: service.table.silent_s(1) < 1)


def test_every_line_of_the_log_is_whole_and_says_its_worker(service: ServiceProcess) -> None:
    body = {"model": "tiny-classifier", "inputs": 7, "parameters": {"x" * 3000: 1}}
    for index in (0, 1) * 10:
        assert ask(service, index, post("/predict", body)) == 422
    assert {line.get("worker") for line in service.log} == {None, 0, 1}


def test_a_stop_under_load_loses_no_request_and_leaves_nothing_behind(models: Path, folder: Path) -> None:
    with service_process(models, folder, stop_delay_s=1) as service:
        pids = service.pids
        with callers(service, per_worker=2) as load:
            wait_until(lambda: min(load.num_answered) > 5)
            service.process.send_signal(signal.SIGTERM)
            for pid in pids:  # as systemd and terminals do: it must not count as a second request to stop
                os.kill(pid, signal.SIGTERM)
            wait_until(load.are_done)
        assert not load.failures
        assert service.process.wait(PATIENCE_S) == -signal.SIGTERM
        assert not any(is_running(pid) for pid in pids)
        assert [path.name for path in folder.iterdir()] == ["log"]


def test_workers_do_not_outlive_a_killed_supervisor(models: Path, folder: Path) -> None:
    """They finish and end; the folder that is left is removed by the next supervisor."""
    with service_process(models, folder) as service:
        pids = service.pids
        service.process.kill()
        service.process.wait(PATIENCE_S)
        wait_until(lambda: not any(is_running(pid) for pid in pids))
        (left,) = folder.glob("unroll-workers-*")
    with group_folder(folder) as made:
        assert made != left
        assert not left.exists()


def test_settings_that_no_worker_can_start_with_end_it_at_once(models: Path, folder: Path) -> None:
    service = ServiceProcess(models, folder, api_keys_file=folder / "none")
    assert service.process.wait(PATIENCE_S) == 2
    assert "none" in service.log_file.read_text(encoding="utf-8").splitlines()[-1]
    assert not list(folder.glob("unroll-workers-*"))


class Load:
    """Callers on connections to each worker, who ask again and again.

    Attributes:
        num_answered: for each caller.
        closed: workers whose connections ended without an answer, which callers then repeat on a new one. One that
            says so with its last answer (`Connection: close`), as those with many do when another is new, is not.
        failures: what else went wrong.
    """

    def __init__(self, service: ServiceProcess, per_worker: int) -> None:
        self.num_answered = [0] * service.count * per_worker
        self.closed: set[int] = set()
        self.failures: list[str] = []
        self._is_over = threading.Event()
        self._port = service.port
        places = [index for index in range(service.count) for _ in range(per_worker)]
        connections = [service.connect_to(index) for index in places]
        self._threads = [
            threading.Thread(target=self._call, args=(number, index, connection))
            for number, (index, connection) in enumerate(zip(places, connections, strict=True))
        ]
        for thread in self._threads:
            thread.start()

    def are_done(self) -> bool:
        return not any(thread.is_alive() for thread in self._threads)

    def join(self) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)

    def _call(self, number: int, index: int, connection: Connection) -> None:
        while True:
            with connection:
                has_said_so = self._ask_on(number, connection)
            if self._is_over.is_set():
                return
            if not has_said_so:
                self.closed.add(index)
            try:
                connection = Connection(self._port)
            except OSError:  # the service has stopped
                return

    def _ask_on(self, number: int, connection: Connection) -> bool:
        """Ask until the connection or the load ends; whether an answer has announced it."""
        while not self._is_over.is_set():
            try:
                connection.send(ASKED)
                answer = connection.answer()
            except (OSError, ValueError):  # closed before the first byte of an answer
                return False
            if answer.status != 200:
                self.failures.append(f"{answer.status}: {answer.body!r}")
            self.num_answered[number] += 1
            if answer.headers.get("connection") == "close":
                return True
        return False


@contextmanager
def callers(service: ServiceProcess, per_worker: int) -> Iterator[Load]:
    load = Load(service, per_worker)
    try:
        yield load
    finally:
        load.join()


def kill_and_await(service: ServiceProcess, index: int) -> None:
    """Kill a worker, and wait until another process is ready in its place."""
    before = service.pids[index]
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: service.pids[index] != before and service.states[index] is WorkerState.READY)


def is_running(pid: int) -> bool:
    """Whether there is such a process with any thread, and not only its exit status."""
    try:
        states = [file.read_text(encoding="ascii").rpartition(")")[2].split()[0] for file in _threads(pid)]
    except OSError:
        return False
    return any(state not in "ZX" for state in states)


def _threads(pid: int) -> list[Path]:
    return [thread / "stat" for thread in Path(f"/proc/{pid}/task").iterdir()]


def test_a_folder_that_sockets_cannot_be_made_in_is_refused(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    with pytest.raises(SettingsError, match=r"longer than \d+ bytes.*UNROLL_WORKERS_DIR"), group_folder(long):
        pass
