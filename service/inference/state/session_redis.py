"""Sessions in Redis, which all replicas share. Needs Redis 6.2 or newer, and the extra `redis`."""

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

#: Commands are short, so that few connections carry many requests.
_MAX_CONNECTIONS = 16
_TOKEN_BYTES = 16

#: Who held a session for too long has lost it, and must not write over what the next holder wrote.
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
    """Sessions under `unroll:{key}:state`, and under `unroll:{key}:holder` a word that only the holder knows.

    How many sessions there may be, and which leave first, is for Redis to say (`maxmemory`, `maxmemory-policy`).
    """

    def __init__(
        self, url: str, ttl_s: float, max_session_bytes: int, max_hold_s: float, timeout_s: float = 1.0
    ) -> None:
        """Connect when first needed.

        `ttl_s` and `max_session_bytes` are as in `SessionLimits`. A holder that died keeps a session for `max_hold_s`,
        which must be more than the longest request takes. `timeout_s` bounds each command, connecting included.

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
            if not await self.ask(self._redis.set(session.holder_key, session.word, nx=True, px=self._max_hold_ms)):
                raise busy()
            yield session
        finally:
            await self._release(session)

    async def close(self) -> None:
        """See `SessionStore.close`."""
        await self._redis.aclose()

    async def get(self, key: str) -> Any:
        """The value of `key`, which lives for another `ttl_ms` from now; None if there is none."""
        return await self.ask(self._redis.getex(key, px=self.ttl_ms))

    async def run(self, script: str, *keys_and_arguments: str | bytes | int) -> Any:
        """Run a Lua script, as one step of the server, with two keys and some arguments."""
        return await self.ask(self._redis.eval(script, 2, *keys_and_arguments))

    async def ask(self, command: Any) -> Any:
        """The reply to a command.

        Raises:
            NotReady: there was none in time. The caller is not told where the server is; the log is.
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
        """Let others use it; does nothing if another holds it.

        Who was cancelled while asking for the hold may have got it, so this comes after every attempt. If Redis does
        not hear it, the hold runs out by itself; the answer is good all the same.
        """
        try:
            await self.run(_RELEASE, session.holder_key, session.state_key, session.word)
        except NotReady:
            logger.warning("a session may stay held until its time is over", extra={"max_hold_ms": self._max_hold_ms})


class _HeldRedisSession:
    """One key of the store. The braces put both names on one node of a Redis Cluster."""

    def __init__(self, store: RedisSessions, key: str) -> None:
        self.holder_key = f"unroll:{{{key}}}:holder"
        self.state_key = f"unroll:{{{key}}}:state"
        self.word = secrets.token_hex(_TOKEN_BYTES)
        self._store = store

    async def load(self) -> bytes | None:
        return cast("bytes | None", await self._store.get(self.state_key))

    async def save(self, data: bytes) -> None:
        require_small(data, self._store.max_session_bytes)
        await self._change(_SAVE, data, self._store.ttl_ms)

    async def delete(self) -> bool:
        return await self._change(_DELETE) > 0

    async def _change(self, script: str, *arguments: bytes | int) -> int:
        reply = int(await self._store.run(script, self.holder_key, self.state_key, self.word, *arguments))
        if reply < 0:
            raise busy()
        return reply
