"""What two workers of one service share, as a caller sees it: sessions, states, prefixes, and the limits of keys."""

from __future__ import annotations

import os
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest

from service.access.api_key import KeyLimits
from service.server.workers.worker_table import WorkerState
from tests.access.key_makers import bearer, key, key_file
from tests.conftest import wait_until
from tests.live_server import Answer, post
from tests.server.workers.service_process import ServiceProcess, service_process

FREE, FEW, ONE = (
    key("free", scopes=("predict", "generate", "admin")),
    key("few", limits=KeyLimits(requests_per_minute=5)),
    key("one", limits=KeyLimits(concurrent_requests=1)),
)


@pytest.fixture(scope="module")
def service(tiny_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    models = tmp_path_factory.mktemp("models")
    shutil.copytree(tiny_models / "tiny-generator", models / "tiny-generator")
    keys = key_file(models, FREE, FEW, ONE)
    settings = {"api_keys_file": keys, "prefix_checkpoint_tokens": 4, "body_timeout_s": 600}
    with TemporaryDirectory() as folder, service_process(models, Path(folder), **settings) as started:
        yield started


def generate(service: ServiceProcess, index: int, name: str = "free", **body: Any) -> Answer:
    """Ask one worker."""
    body = {"model": "tiny-generator", "parameters": {"max_new_tokens": 4, "seed": 1}, **body}
    with service.connect_to(index) as connection:
        return connection.ask(post("/generate", body, authorization=bearer(name)))


def kill_all(service: ServiceProcess) -> None:
    """Kill both workers, and wait until others are ready."""
    before = service.pids
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not set(before) & set(service.pids) and service.states == [WorkerState.READY] * 2)


def test_a_session_goes_on_at_any_worker_and_outlives_all_of_them(service: ServiceProcess) -> None:
    """The texts are those of a session at one worker; the list has it whoever is asked."""
    whole = [generate(service, 0, inputs=text, session="at-one").json for text in ("a b", "", "")]
    first = generate(service, 0, inputs="a b", session="at-both")
    second = generate(service, 1, inputs="", session="at-both")
    kill_all(service)
    third = generate(service, 1, inputs="", session="at-both")
    answers = [first, second, third]
    assert [answer.status for answer in answers] == [200] * 3
    assert [a.json["generated_text"] for a in answers] == [answer["generated_text"] for answer in whole]
    listed = httpx.get(f"{service.url}/sessions", headers={"authorization": bearer("free")}).json()["sessions"]
    assert [one["name"] for one in listed] == ["at-both", "at-one"]


def test_a_state_that_one_worker_sealed_is_opened_by_another_and_by_its_successor(service: ServiceProcess) -> None:
    """Without keys for states in the settings."""
    state = generate(service, 0, inputs="a b", return_state=True).json["state"]
    texts = [generate(service, 1, inputs="", state=state).json["generated_text"]]
    kill_all(service)
    texts += [generate(service, index, inputs="", state=state).json["generated_text"] for index in (0, 1)]
    assert len(set(texts)) == 1


def test_a_prefix_that_one_worker_has_read_is_not_read_by_the_other(service: ServiceProcess) -> None:
    prompt = "a b c a b c a b c a b"
    hits = 'unroll_prefix_hits_total{model="tiny-generator"}'
    first = generate(service, 0, inputs=prompt).json["generated_text"]
    before = service.metric(hits)
    assert generate(service, 1, inputs=prompt).json["generated_text"] == first
    assert service.metric(hits) == before + 1


def test_the_limit_of_a_key_is_that_of_the_service(service: ServiceProcess) -> None:
    """Five a minute, of six requests to each worker in turn; more only as the minute goes on."""
    answers = [generate(service, number % 2, "few", inputs="a") for number in range(12)]
    statuses = Counter(answer.status for answer in answers)
    assert answers[4].status == 200
    assert answers[4].headers["x-ratelimit-remaining-requests"] in ("0", "1")
    assert set(statuses) == {200, 429}
    assert statuses[200] >= 5
    assert service.metric('unroll_key_refusals_total{key="few",reason="requests_per_minute"}') == statuses[429]


def test_what_a_killed_worker_had_open_does_not_count(service: ServiceProcess) -> None:
    """One request at once: while one worker waits for a body the other refuses, and not when that one is killed."""
    head = f"POST /generate HTTP/1.1\r\nHost: a\r\nAuthorization: {bearer('one')}\r\nContent-Type: application/json\r\n"
    with service.connect_to(0) as held:
        held.send(f"{head}Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n".encode())
        assert held.answer().status == 100  # it is counted: a key is checked before the body is waited for
        assert generate(service, 1, "one", inputs="a").status == 429
        before = service.pids[0]
        os.kill(before, signal.SIGKILL)
        wait_until(lambda: service.pids[0] != before)
        assert generate(service, 1, "one", inputs="a").status == 200
