"""Session store in Redis, shared by all replicas. Needs Redis 6.2 or newer, and the extra `redis`."""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, cast

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from service.errors import NotReady
from service.inference.state.sessions import HeldSession, busy, require_small

logger = logging.getLogger(__name__)

#: Commands are short, so few connections serve many requests.
_MAX_CONNECTIONS = 16
_TOKEN_BYTES = 16

#: A holder whose hold has expired must not overwrite the state of the next holder.
_SAVE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
return 1
"""
_DELETE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
return redis.call('DEL', KEYS[2])
"""
_RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1
"""


class RedisSessions:
    """Sessions under `unroll:{key}:state`, with a lock under `unroll:{key}:holder` whose value only the holder knows.

    The number of sessions and their eviction are configured in Redis (`maxmemory`, `maxmemory-policy`).
    """

    def __init__(
        self, url: str, ttl_s: float, max_session_bytes: int, max_hold_s: float, timeout_s: float = 1.0
    ) -> None:
        """Create the store; it connects at the first command.

        `ttl_s` and `max_session_bytes` are as in `SessionLimits`. If a holder dies, its session stays locked for
        `max_hold_s`, which must exceed the longest request. `timeout_s` bounds each command, connecting included.

        Raises:
            ValueError: `url` is not one of redis://, rediss:// or unix://.
        """
        self.ttl_ms = math.ceil(ttl_s * 1000)
        self.max_session_bytes = max_session_bytes
        self._max_hold_ms = math.ceil(max_hold_s * 1000)
        self._timeout_s = timeout_s
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=_MAX_CONNECTIONS,
            timeout=timeout_s,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
        )
        self._redis = Redis.from_pool(pool)

    @asynccontextmanager
    async def hold(self, key: str) -> AsyncIterator[HeldSession]:
        """See `SessionStore.hold`."""
        session = _HeldRedisSession(self, key)
        try:
            if not await self.ask(self._redis.set(session.holder_key, session.token, nx=True, px=self._max_hold_ms)):
                raise busy()
            yield session
        finally:
            await self._release(session)

    async def close(self) -> None:
        """See `SessionStore.close`."""
        await self._redis.aclose()

    async def get(self, key: str) -> Any:
        """The value of `key`, or None. Its expiry is set to `ttl_ms` from now."""
        return await self.ask(self._redis.getex(key, px=self.ttl_ms))

    async def run(self, script: str, *keys_and_arguments: str | bytes | int) -> Any:
        """Run a Lua script, which is atomic, with two keys and some arguments."""
        return await self.ask(self._redis.eval(script, 2, *keys_and_arguments))

    async def ask(self, command: Any) -> Any:
        """The reply to a command.

        Raises:
            NotReady: Redis failed or did not reply in time. The reason is logged and not shown to the caller.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                return await cast(Awaitable[Any], command)
        except (RedisError, OSError, TimeoutError) as error:
            reason = str(error) or type(error).__name__
            logger.warning("the session store does not answer", extra={"reason": reason})
            message = "sessions cannot be reached at the moment"
            raise NotReady(message, ["the session store does not answer"]) from error

    async def _release(self, session: _HeldRedisSession) -> None:
        """Release the lock, unless another request holds it by now.

        This follows every attempt to acquire it, because one that was cancelled may have succeeded. If Redis cannot be
        reached, the lock expires by itself, and the answer is still valid.
        """
        try:
            await self.run(_RELEASE, session.holder_key, session.state_key, session.token)
        except NotReady:
            logger.warning("a session may stay locked until its lock expires", extra={"max_hold_ms": self._max_hold_ms})


class _HeldRedisSession:
    """One session of the store. The braces put both keys on the same node of a Redis Cluster."""

    def __init__(self, store: RedisSessions, key: str) -> None:
        self.holder_key = f"unroll:{{{key}}}:holder"
        self.state_key = f"unroll:{{{key}}}:state"
        self.token = secrets.token_hex(_TOKEN_BYTES)
        self._store = store

    async def load(self) -> bytes | None:
        return cast("bytes | None", await self._store.get(self.state_key))

    async def save(self, data: bytes) -> None:
        require_small(data, self._store.max_session_bytes)
        await self._change(_SAVE, data, self._store.ttl_ms)

    async def delete(self) -> bool:
        return await self._change(_DELETE) > 0

    async def _change(self, script: str, *arguments: bytes | int) -> int:
        reply = int(await self._store.run(script, self.holder_key, self.state_key, self.token, *arguments))
        if reply < 0:
            raise busy()
        return reply
