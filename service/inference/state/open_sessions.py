"""Opens the configured session store: in memory, or in Redis."""

from __future__ import annotations

from service.distribution import install_hint
from service.inference.state.session_memory import LocalSessions
from service.inference.state.sessions import SessionLimits, SessionStore
from service.settings import SettingsError


def open_session_store(redis_url: str, limits: SessionLimits, max_hold_s: float) -> SessionStore:
    """The session store: in Redis if there is an address, otherwise in this process.

    Raises:
        SettingsError: the address is invalid, or the Redis client is not installed.
    """
    if not redis_url:
        return LocalSessions(limits)
    try:
        from service.inference.state.session_redis import RedisSessions

        return RedisSessions(redis_url, limits.ttl_s, limits.max_session_bytes, max_hold_s)
    except ModuleNotFoundError as error:
        raise SettingsError(f"UNROLL_REDIS_URL needs the Redis client: {install_hint('redis')}") from error
    except ValueError as error:
        raise SettingsError(f"UNROLL_REDIS_URL: {error}") from error
