"""Session store in Redis, shared by all replicas. Needs Redis 6.2 or newer, and the extra `redis`."""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from service.errors import NotReady, SessionStoreFull, StateRefused
from service.inference.state import session_scripts
from service.inference.state.sessions import (
    MAX_LISTED,
    HeldSession,
    KeptSession,
    SessionLabel,
    busy,
    require_small,
)

logger = logging.getLogger(__name__)

#: Commands are short, so few connections serve many requests.
_MAX_CONNECTIONS = 16
_TOKEN_BYTES = 16
#: A lock ends by itself after this time unless its holder renews it, so that nobody waits long for a dead one.
LEASE_S = 1.5
#: Equal to the fingerprint of no state: of a session that was not read yet.
_UNREAD = "-"
_FULL = "the session store has no room left"


class RedisSessions:
    """Sessions under `unroll:{key}:state`, with a lock under `unroll:{key}:holder` whose value only the holder knows.

    The number of sessions and their eviction are configured in Redis (`maxmemory`, `maxmemory-policy`). While Redis is
    full, sessions that exist are read without a lock, and written if nobody else has written them.

    Attributes:
        failures: commands that failed, by reason.
    """

    def __init__(
        self,
        url: str,
        ttl_s: float,
        max_session_bytes: int,
        max_hold_s: float,
        timeout_s: float = 1.0,
        renew_every_s: float = 0.5,
    ) -> None:
        """Create the store; it connects at the first command.

        `ttl_s` and `max_session_bytes` are as in `SessionLimits`. A lock is renewed for `max_hold_s` at most, which
        must exceed the longest request. `timeout_s` bounds each command, connecting included.

        Raises:
            ValueError: `url` is not one of redis://, rediss:// or unix://.
        """
        self.ttl_ms = math.ceil(ttl_s * 1000)
        self.max_session_bytes = max_session_bytes
        self.lease_ms = math.ceil(LEASE_S * 1000)
        self.max_hold_s = max_hold_s
        self.renew_every_s = renew_every_s
        self.failures: Counter[str] = Counter()
        self._timeout_s = timeout_s
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=_MAX_CONNECTIONS,
            timeout=timeout_s,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
        )
        pool.connection_kwargs["decode_responses"] = False  # whatever the address asks for: states are bytes
        self._redis = Redis.from_pool(pool)
        self._releasing: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def hold(self, key: str, label: SessionLabel | None = None) -> AsyncIterator[HeldSession]:
        """See `SessionStore.hold`."""
        session = _HeldRedisSession(self, key, label)
        has_answered = False
        try:
            await session.acquire()
            has_answered = True
            renewing = asyncio.create_task(session.keep(), name="renew-session")
            try:
                yield session
            finally:
                renewing.cancel()
        finally:
            await self._release(session, waits=has_answered)

    async def kept_by(self, owner: str) -> list[KeptSession]:
        """See `SessionStore.kept_by`: the index of the owner, without what has expired or was deleted since."""
        times, labels = index_keys(owner)
        keys: list[bytes] = await self.ask(self._redis.zrevrange(times, 0, MAX_LISTED - 1))
        if not keys:
            return []
        texts: list[bytes | None] = await self.ask(self._redis.hmget(labels, [key.decode("ascii") for key in keys]))
        pipeline = self._redis.pipeline(transaction=False)  # the states are on any nodes of a cluster
        for key in keys:
            pipeline.strlen(state_key(key.decode("ascii")))
            pipeline.pttl(state_key(key.decode("ascii")))
        replies = await self.ask(pipeline.execute(raise_on_error=False))
        found = zip(keys, texts, replies[::2], replies[1::2], strict=True)
        return [
            KeptSession(key.decode("ascii"), text, num_bytes, left_ms / 1000)
            for key, text, num_bytes, left_ms in found
            if text is not None and isinstance(num_bytes, int) and isinstance(left_ms, int) and left_ms > 0
        ]

    async def note(self, key: str, label: SessionLabel) -> None:
        """Put a session that was saved into the index of its owner. Where that fails, it is not listed, and works."""
        with suppress(NotReady):
            await self.ask(
                self._redis.eval(session_scripts.NOTE, 2, *index_keys(label.owner), key, label.text, str(self.ttl_ms))
            )

    async def check(self) -> None:
        """See `SessionStore.check`."""
        with suppress(NotReady):
            await self.ask(self._redis.ping())

    async def close(self) -> None:
        """See `SessionStore.close`."""
        if self._releasing:
            _, late = await asyncio.wait(self._releasing, timeout=self._timeout_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self._redis.aclose()

    async def run(self, script: str, *keys_and_arguments: str | bytes | int) -> Any:
        """Run a Lua script with two keys and some arguments. Raises as `ask`."""
        script = session_scripts.for_states_of(script, self.max_session_bytes)
        return await self.ask(self._redis.eval(script, 2, *keys_and_arguments))

    async def ask(self, command: Any) -> Any:
        """The reply to a command.

        Raises:
            NotReady: Redis failed or did not reply in time. The reason is logged and not shown to the caller.
            SessionStoreFull: Redis has no memory left for what the command writes.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                return await cast(Awaitable[Any], command)
        except (RedisError, OSError, TimeoutError) as error:
            kind = _kind_of(error)
            self.failures[kind] += 1
            fields = {"reason": str(error) or type(error).__name__, "kind": kind}
            logger.warning("the session store does not answer as it should", extra=fields)
            if kind == "full":
                raise SessionStoreFull("there is no room for sessions at the moment", [_FULL]) from error
            message = "sessions cannot be reached at the moment"
            raise NotReady(message, ["the session store does not answer"]) from error

    async def _release(self, session: _HeldRedisSession, waits: bool) -> None:
        """Release the lock, unless another request holds it by now.

        This follows every attempt to acquire it, because one that was cancelled may have succeeded, and it goes on
        when this request is cancelled. If Redis cannot be reached, the lock ends by itself, and the answer is valid.
        """
        task = asyncio.create_task(session.release(), name="release-session")
        self._releasing.add(task)
        task.add_done_callback(self._releasing.discard)
        if waits:
            await asyncio.wait({task})


class _HeldRedisSession:
    """One session of the store. The braces put both keys on the same node of a Redis Cluster."""

    def __init__(self, store: RedisSessions, key: str, label: SessionLabel | None) -> None:
        self.keys = (f"unroll:{{{key}}}:holder", state_key(key))
        self._key = key
        self._label = label
        self._token = secrets.token_hex(_TOKEN_BYTES)
        self._known = _UNREAD
        self._store = store

    async def acquire(self) -> None:
        """Take the lock, or, if there is no room for one, go on without. Raises SessionBusy."""
        store = self._store
        longest_ms = math.ceil(store.max_hold_s * 1000) + store.lease_ms
        try:
            if not await self._run(session_scripts.ACQUIRE, store.lease_ms, longest_ms):
                raise busy()
        except SessionStoreFull:
            logger.warning("a session is used without a lock, as the session store is full")

    async def keep(self) -> None:
        """Renew the lock until cancelled, or until the longest request must have ended."""
        pause_s = self._store.renew_every_s
        for _ in range(math.ceil(self._store.max_hold_s / pause_s)):
            await asyncio.sleep(pause_s)
            with suppress(NotReady):
                await self._run(session_scripts.RENEW, self._store.lease_ms)

    async def release(self) -> None:
        """Give the lock back. Where Redis does not answer, it ends with its lease."""
        with suppress(NotReady):
            await self._run(session_scripts.RELEASE)

    async def load(self) -> bytes | None:
        found, *state = await self._run(session_scripts.LOAD, self._store.ttl_ms)
        self._known = found.decode("ascii")
        if state:
            return cast(bytes, state[0])
        if self._known:
            raise StateRefused(f"what is stored for this session is not a state, but {self._known}", "malformed")
        return None

    async def save(self, data: bytes) -> None:
        require_small(data, self._store.max_session_bytes)
        try:
            await self._save(data)
        except SessionStoreFull:
            # The state before is of no use any more, and nobody should continue from it. Its room may be enough.
            await self.delete()
            await self._save(data)
        if self._label is not None:
            await self._store.note(self._key, self._label)

    async def delete(self) -> bool:
        was_there = await self._change(session_scripts.DELETE)
        self._known = ""
        return was_there > 0

    async def _save(self, data: bytes) -> None:
        await self._change(session_scripts.SAVE, self._store.ttl_ms, data)
        self._known = session_scripts.fingerprint(data)

    async def _change(self, script: str, *arguments: bytes | int) -> int:
        reply = int(await self._run(script, *arguments))
        if reply < 0:
            raise busy()
        return reply

    async def _run(self, script: str, *arguments: bytes | int) -> Any:
        return await self._store.run(script, *self.keys, self._token, self._known, *arguments)


def state_key(key: str) -> str:
    """Where Redis has the state of a session."""
    return f"unroll:{{{key}}}:state"


def index_keys(owner: str) -> tuple[str, str]:
    """Where Redis has the sessions of an owner: by the time of their last use, and their labels."""
    return f"unroll:{{{owner}}}:used", f"unroll:{{{owner}}}:labels"


def _kind_of(error: Exception) -> str:
    """Why a command failed, as a label of a metric."""
    if isinstance(error, TimeoutError) or type(error).__name__ == "TimeoutError":
        return "timeout"
    if isinstance(error, ResponseError):
        return "full" if "'maxmemory'" in str(error) else "refused"
    return "unreachable"
