"""Keys and usage of a running service: changes drop no request, and usage reaches its file."""

from __future__ import annotations

import json
from pathlib import Path

from tests.access.key_makers import bearer, key, key_file
from tests.conftest import wait_until
from tests.live_server import LiveServer, held_runs, live_server, post

TAG = {"model": "tiny-tagger", "inputs": "a b c"}
GENERATE = {"inputs": "ab", "parameters": {"max_new_tokens": 4}}


def status(server: LiveServer, name: str) -> int:
    with server.connect() as connection:
        return connection.ask(post("/predict", TAG, authorization=bearer(name))).status


def test_a_key_is_revoked_while_its_stream_runs_to_the_end(tiny_models: Path, tmp_path: Path) -> None:
    path = key_file(tmp_path, key("one"), key("two"))
    with live_server(tiny_models, api_keys_file=path, reload_every_s=0.05) as server, server.connect() as connection:
        with held_runs(server, "tiny-generator") as begun:
            connection.send(post("/generate_stream", GENERATE, authorization=bearer("one")))
            wait_until(begun.is_set)
            key_file(tmp_path, key("two"), key("three"))
            wait_until(lambda: status(server, "one") == 401)
            assert [status(server, name) for name in ("two", "three")] == [200, 200]
        answer = connection.answer()
        assert answer.status == 200
        assert b'"generated_text":"' in answer.body


def test_keys_that_cannot_be_read_again_are_told_by_a_metric(tiny_models: Path, tmp_path: Path) -> None:
    path = key_file(tmp_path, key("one"))
    with live_server(tiny_models, api_keys_file=path, reload_every_s=0.05) as server:
        assert server.metric("unroll_last_key_reload_successful") == 1
        path.write_text("{", encoding="utf-8")
        wait_until(lambda: server.metric("unroll_last_key_reload_successful") == 0)
        assert server.metric("unroll_key_reloads_total", outcome="failed") >= 1
        assert status(server, "one") == 200
        key_file(tmp_path, key("two"))
        wait_until(lambda: server.metric("unroll_last_key_reload_successful") == 1)
        assert (status(server, "one"), status(server, "two")) == (401, 200)


def test_usage_is_written_at_the_latest_when_the_service_stops(tiny_models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "usage"
    path = key_file(tmp_path, key("one"))
    with live_server(tiny_models, api_keys_file=path, usage_dir=folder, usage_every_s=3600) as server:
        assert [status(server, "one") for _ in range(3)] == [200, 200, 200]
        wait_until(lambda: server.metric("unroll_usage_requests_total", key="one", model="tiny-tagger") == 3)
    (line,) = [json.loads(line) for file in folder.iterdir() for line in file.read_text().splitlines()]
    assert (line["key"], line["model"], line["requests"], line["read_tokens"]) == ("one", "tiny-tagger", 3, 9)


def test_usage_that_cannot_be_written_harms_no_request_and_is_counted(tiny_models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "usage"
    folder.write_text("a file where the folder should be")
    with live_server(tiny_models, usage_dir=folder, usage_every_s=1) as server:
        assert status(server, "whoever") == 200
        wait_until(lambda: server.metric("unroll_usage_write_failures_total") >= 1)
        assert status(server, "whoever") == 200
        assert server.metric("unroll_usage_requests_total", key="anonymous", model="tiny-tagger") == 2
