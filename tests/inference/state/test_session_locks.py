"""Locks of sessions in Redis: one holder at a time, and none that is dead or late keeps a session from others."""

from __future__ import annotations

import asyncio

import pytest

from service.errors import NotReady, SessionBusy
from service.inference.state.session_redis import LEASE_S, RedisSessions
from tests.conftest import PATIENCE_S, until
from tests.inference.state.redis_server import RedisServer
from tests.inference.state.session_stores import (
    MAX_HOLD_S,
    MAX_SESSION_BYTES,
    TTL_S,
    assert_away,
    load,
    redis_sessions,
    save,
    unrenewed,
)


def test_replicas_share_the_sessions_of_one_redis(redis_server: RedisServer) -> None:
    """Replicas with one Redis share states and holds."""

    async def scenario() -> None:
        ours, theirs = redis_sessions(redis_server), redis_sessions(redis_server)
        async with ours.hold("shared") as session:
            await session.save(b"state")
            with pytest.raises(SessionBusy):
                await load(theirs, "shared")
        assert await load(theirs, "shared") == b"state"
        await ours.close()
        await theirs.close()

    asyncio.run(scenario())


def test_a_holder_whose_session_another_had_since_changes_nothing(redis_server: RedisServer) -> None:
    """A slow request whose lock ended and was taken over neither saves nor deletes nor releases the session."""

    async def scenario() -> None:
        store = unrenewed(redis_server)
        async with store.hold("slow") as slow:
            await slow.save(b"before")
            redis_server.let_time_pass(LEASE_S)
            next_one = store.hold("slow")
            session = await next_one.__aenter__()
            for change in (lambda: slow.save(b"late"), slow.delete):
                with pytest.raises(SessionBusy):
                    await change()
            await session.save(b"next")
        with pytest.raises(SessionBusy):
            await load(store, "slow")
        await next_one.__aexit__(None, None, None)
        assert await load(store, "slow") == b"next"
        await store.close()

    asyncio.run(scenario())


def test_a_holder_whose_session_was_changed_and_given_back_changes_nothing(redis_server: RedisServer) -> None:
    """Nobody holds the session now, but its state is another's: saving would undo an answer."""

    async def scenario() -> None:
        store = unrenewed(redis_server)
        async with store.hold("slow") as slow:
            assert await slow.load() is None
            redis_server.let_time_pass(LEASE_S)
            await save(store, "slow", b"next")
            with pytest.raises(SessionBusy):
                await slow.save(b"late")
        assert await load(store, "slow") == b"next"
        await store.close()

    redis_server.clear()
    asyncio.run(scenario())


def test_a_lock_that_was_lost_costs_nothing_if_nobody_took_the_session(redis_server: RedisServer) -> None:
    """A request whose lock was lost saves if the session is as it was."""

    async def scenario() -> None:
        store = unrenewed(redis_server)
        await save(store, "alone", b"before")
        async with store.hold("alone") as session:
            assert await session.load() == b"before"
            redis_server.execute("DEL", "unroll:{alone}:holder")
            await session.save(b"after")
        assert await load(store, "alone") == b"after"
        await store.close()

    asyncio.run(scenario())


def test_a_long_request_keeps_its_lock(redis_server: RedisServer) -> None:
    """The holder renews its lock: also after it was lost, it is there again."""

    async def scenario() -> None:
        store = RedisSessions(redis_server.url, TTL_S, MAX_SESSION_BYTES, MAX_HOLD_S, 5.0, renew_every_s=0.01)
        async with store.hold("long") as session:
            await session.save(b"state")
            for _ in range(2):
                redis_server.execute("DEL", "unroll:{long}:holder")
                await until(lambda: b"unroll:{long}:holder" in redis_server.execute("KEYS", "*long*"))
        assert await load(store, "long") == b"state"
        await store.close()

    asyncio.run(scenario())


def test_the_lock_of_a_dead_holder_ends_within_two_seconds(redis_server: RedisServer) -> None:
    """A killed replica leaves a lock with at most the lease to live, and then the session is free."""

    async def scenario() -> None:
        store = unrenewed(redis_server)
        await store.hold("dead").__aenter__()
        assert 0 < redis_server.execute("PTTL", "unroll:{dead}:holder") <= LEASE_S * 1000 <= 2000
        redis_server.let_time_pass(LEASE_S)
        assert await load(store, "dead") is None
        await store.close()

    asyncio.run(scenario())


def test_a_session_that_was_asked_for_while_redis_hung_is_free_within_two_seconds(redis_server: RedisServer) -> None:
    """What a hanging Redis executes late for requests that were refused long ago locks nothing for longer."""

    async def scenario() -> None:
        store = redis_sessions(redis_server, timeout_s=0.05)
        patient = redis_sessions(redis_server)
        await save(patient, "a", b"state")
        redis_server.pause()
        try:
            for _ in range(3):
                await assert_away(store)
        finally:
            redis_server.resume()
        left_ms = redis_server.execute("PTTL", "unroll:{a}:holder")
        assert left_ms <= LEASE_S * 1000 <= 2000
        redis_server.let_time_pass(LEASE_S)
        await store.close()
        assert await load(patient, "a") == b"state"
        await patient.close()

    redis_server.clear()
    asyncio.run(scenario())


def test_everything_in_redis_expires(redis_server: RedisServer) -> None:
    """States and holds in Redis expire, so a replica that dies leaves nothing behind."""

    async def scenario() -> None:
        store = redis_sessions(redis_server)
        async with store.hold("mortal") as session:
            await session.save(b"state")
            assert redis_server.names() == {"unroll:{mortal}:holder", "unroll:{mortal}:state"}
            redis_server.let_time_pass(max(TTL_S, MAX_HOLD_S))
            assert redis_server.names() == set()
        await store.close()

    redis_server.clear()
    asyncio.run(scenario())


def test_a_redis_that_stops_and_comes_back(redis_server: RedisServer) -> None:
    """Requests fail at once while Redis is down, and the same store works again when it is back."""

    async def scenario() -> None:
        store = redis_sessions(redis_server)
        await save(store, "a", b"state")
        redis_server.stop()
        await assert_away(store)
        redis_server.start()
        await save(store, "a", b"again")
        assert await load(store, "a") == b"again"
        await store.close()

    asyncio.run(scenario())


def test_a_redis_that_hangs_makes_nobody_wait_for_long(redis_server: RedisServer) -> None:
    """If Redis accepts connections but never answers, requests are refused in time, and the store recovers."""

    async def scenario() -> None:
        store = redis_sessions(redis_server, timeout_s=0.05)
        redis_server.pause()
        try:
            async with asyncio.timeout(PATIENCE_S):
                await asyncio.gather(*(assert_away(store) for _ in range(40)))
        finally:
            redis_server.resume()
        await store.close()
        patient = redis_sessions(redis_server)
        await save(patient, "b", b"state")
        await patient.close()

    asyncio.run(scenario())


def test_a_redis_that_goes_while_a_session_is_held_spoils_no_answer(redis_server: RedisServer) -> None:
    """If Redis fails while a session is held, the answer is unaffected and the hold expires."""

    async def scenario() -> None:
        store = redis_sessions(redis_server)
        async with store.hold("a") as session:
            redis_server.stop()
            with pytest.raises(NotReady):
                await session.save(b"state")
        redis_server.start()
        await store.close()

    asyncio.run(scenario())
