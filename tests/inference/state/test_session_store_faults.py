"""A session store in Redis that is full, refuses writes, or has values and locks that are not ours."""

from __future__ import annotations

import asyncio

import pytest

from service.errors import SessionBusy, SessionStoreFull, StateRefused
from tests.inference.state.redis_server import RedisServer
from tests.inference.state.session_stores import (
    assert_away,
    load,
    redis_sessions,
    save,
)

HOLDER = "unroll:{a}:holder"


@pytest.mark.parametrize(
    "words",
    [
        ("SET", HOLDER, "for ever"),
        ("SET", HOLDER, "for a day", "EX", 86_400),
        ("RPUSH", HOLDER, "a", "list"),
        ("HSET", HOLDER, "a", "hash"),
        ("SET", HOLDER, b"\xff\x00"),
    ],
)
def test_a_lock_that_is_none_of_ours_is_removed(
    redis_server: RedisServer, words: tuple[str | bytes | int, ...]
) -> None:
    redis_server.clear()
    redis_server.execute(*words)

    async def scenario() -> None:
        store = redis_sessions(redis_server)
        await save(store, "a", b"state")
        assert await load(store, "a") == b"state"
        await store.close()

    asyncio.run(scenario())


STATE = "unroll:{a}:state"


@pytest.mark.parametrize(
    "words",
    [
        ("RPUSH", STATE, "a", "list"),
        ("HSET", STATE, "a", "hash"),
        ("SADD", STATE, "a set"),
        ("ZADD", STATE, 1, "a sorted set"),
        ("XADD", STATE, "*", "a", "stream"),
        ("SETRANGE", STATE, 10_000_000, "long"),
    ],
)
def test_a_value_that_cannot_be_a_state_is_refused_and_can_be_replaced(
    redis_server: RedisServer, words: tuple[str | int, ...]
) -> None:
    redis_server.clear()
    redis_server.execute(*words)

    async def scenario() -> None:
        store = redis_sessions(redis_server)
        async with store.hold("a") as session:
            with pytest.raises(StateRefused) as refused:
                await session.load()
            assert refused.value.reason == "malformed"
            assert await session.delete()
        assert await load(store, "a") is None
        redis_server.execute(*words)
        await save(store, "a", b"state")
        assert await load(store, "a") == b"state"
        await store.close()

    asyncio.run(scenario())


def test_what_is_kept_can_be_read_while_redis_is_full(redis_server: RedisServer) -> None:
    """Without memory for anything new, a state is read; saving says that there is no room, and leaves no old state."""
    redis_server.clear()

    async def scenario() -> None:
        store = redis_sessions(redis_server)
        await save(store, "a", b"state")
        redis_server.execute("CONFIG", "SET", "maxmemory", 1)
        try:
            async with store.hold("a") as session:
                assert await session.load() == b"state"
                with pytest.raises(SessionStoreFull):
                    await session.save(b"next")
            assert await load(store, "a") is None
        finally:
            redis_server.execute("CONFIG", "SET", "maxmemory", 0)
        assert store.failures["full"] > 0
        await save(store, "a", b"again")
        assert await load(store, "a") == b"again"
        await store.close()

    asyncio.run(scenario())


def test_of_two_requests_while_redis_is_full_only_one_changes_a_session(redis_server: RedisServer) -> None:
    """Where there is no room for a lock, the state itself tells the second request that it comes too late."""
    redis_server.clear()

    async def scenario() -> None:
        store = redis_sessions(redis_server)
        await save(store, "a", b"0")
        redis_server.execute("CONFIG", "SET", "maxmemory", 1)
        try:
            async with store.hold("a") as first, store.hold("a") as second:
                assert [await first.load(), await second.load()] == [b"0", b"0"]
                redis_server.execute("CONFIG", "SET", "maxmemory", 0)
                await first.save(b"1")
                with pytest.raises(SessionBusy):
                    await second.save(b"1")
        finally:
            redis_server.execute("CONFIG", "SET", "maxmemory", 0)
        await store.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("breaking", "mending"),
    [
        (("REPLICAOF", "127.0.0.1", 1), ("REPLICAOF", "NO", "ONE")),
        (("CONFIG", "SET", "min-replicas-to-write", 3), ("CONFIG", "SET", "min-replicas-to-write", 0)),
    ],
    ids=["a replica", "too few replicas"],
)
def test_a_redis_that_refuses_writes_is_not_ready_and_recovers(
    redis_server: RedisServer, breaking: tuple[str | int, ...], mending: tuple[str | int, ...]
) -> None:
    redis_server.clear()

    async def scenario() -> None:
        store = redis_sessions(redis_server)
        await save(store, "a", b"state")
        redis_server.execute(*breaking)
        try:
            await assert_away(store)
        finally:
            redis_server.execute(*mending)
        assert await load(store, "a") == b"state"
        assert store.failures["refused"] > 0
        await store.close()

    asyncio.run(scenario())
