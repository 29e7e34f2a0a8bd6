"""A key that floods the service, and another that asks for little: counted in runs of the graph, over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.access.key_makers import bearer, key, key_file
from tests.conftest import wait_until
from tests.live_server import LiveServer, held_runs, live_server, post

NUM_FLOODING = 40


@pytest.fixture
def server(tiny_models: Path, tmp_path: Path) -> Iterator[LiveServer]:
    path = key_file(tmp_path, key("flood", weight=10.0), key("single"))
    with live_server(tiny_models, api_keys_file=path, lanes=1, max_batch_items=4) as started:
        yield started


def test_the_request_of_one_key_is_in_one_of_the_next_two_runs_beside_a_flood_of_another(server: LiveServer) -> None:
    """All come from one address; only their keys tell them apart, and the flood has ten times the weight."""
    engine = server.engine("tiny-classifier")
    runs: list[list[int]] = []
    batcher, original = engine._queue, engine._queue._run

    def noted(examples: Any) -> Any:
        runs.append([example.length for example in examples])
        return original(examples)

    batcher._run = noted
    with ExitStack() as stack:
        crowd = [stack.enter_context(server.connect()) for _ in range(NUM_FLOODING)]
        single = stack.enter_context(server.connect())
        with held_runs(server, "tiny-classifier") as begun:
            for connection in crowd:
                body = {"model": "tiny-classifier", "inputs": "hello world"}
                connection.send(post("/predict", body, authorization=bearer("flood")))
            wait_until(begun.is_set)
            wait_until(lambda: engine.num_pending == NUM_FLOODING)
            body = {"model": "tiny-classifier", "inputs": "hello world hello"}
            single.send(post("/predict", body, authorization=bearer("single")))
            wait_until(lambda: engine.num_pending == NUM_FLOODING + 1)
        assert single.answer().status == 200
        assert [connection.answer().status for connection in crowd] == [200] * NUM_FLOODING
    number = next(number for number, lengths in enumerate(runs) if 3 in lengths)
    assert number <= 2, runs
