"""A Redis server for the tests of sessions."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.inference.state.redis_server import RedisServer


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()
