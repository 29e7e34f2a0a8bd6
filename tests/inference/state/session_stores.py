"""Limits of the session stores under test, and what their tests do with them."""

from __future__ import annotations

import pytest

from service.errors import NotReady
from service.inference.state.session_redis import RedisSessions
from service.inference.state.sessions import SessionLimits, SessionStore
from tests.inference.state.redis_server import RedisServer

TTL_S = 100.0
MAX_SESSION_BYTES = 1000
LIMITS = SessionLimits(TTL_S, MAX_SESSION_BYTES, max_sessions=3, max_total_bytes=2500)
MAX_HOLD_S = 30.0


def redis_sessions(server: RedisServer, timeout_s: float = 5.0) -> RedisSessions:
    return RedisSessions(server.url, TTL_S, MAX_SESSION_BYTES, MAX_HOLD_S, timeout_s)


def unrenewed(server: RedisServer) -> RedisSessions:
    """A store whose holders are too busy to renew their locks."""
    return RedisSessions(server.url, TTL_S, MAX_SESSION_BYTES, MAX_HOLD_S, 5.0, renew_every_s=MAX_HOLD_S * 100)


async def save(store: SessionStore, key: str, data: bytes) -> None:
    async with store.hold(key) as session:
        await session.save(data)


async def load(store: SessionStore, key: str) -> bytes | None:
    async with store.hold(key) as session:
        return await session.load()


async def assert_away(store: SessionStore) -> None:
    with pytest.raises(NotReady, match="cannot be reached") as away:
        await load(store, "a")
    assert away.value.reasons == ("the session store does not answer",)
    assert "127.0.0.1" not in str(away.value)
