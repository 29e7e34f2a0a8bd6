"""Opens the configured session store: in memory, in memory that workers share, or in Redis."""

from __future__ import annotations

import logging
import shutil

from service.distribution import install_hint
from service.inference.state.session_memory import LocalSessions
from service.inference.state.sessions import SessionLimits, SessionStore
from service.settings import SettingsError
from service.worker_group import WorkerGroup

logger = logging.getLogger(__name__)


def open_session_store(
    redis_url: str, limits: SessionLimits, max_hold_s: float, group: WorkerGroup | None = None
) -> SessionStore:
    """The session store: in Redis if there is an address, else for all workers of a group, else in this process.

    Raises:
        SettingsError: the address is invalid, the Redis client is not installed, or workers cannot share sessions.
    """
    if not redis_url:
        return LocalSessions(limits) if group is None else _shared(group, limits)
    try:
        from service.inference.state.session_redis import RedisSessions

        return RedisSessions(redis_url, limits.ttl_s, limits.max_session_bytes, max_hold_s)
    except ModuleNotFoundError as error:
        raise SettingsError(f"UNROLL_REDIS_URL needs the Redis client: {install_hint('redis')}") from error
    except ValueError as error:
        raise SettingsError(f"UNROLL_REDIS_URL: {error}") from error


def _shared(group: WorkerGroup, limits: SessionLimits) -> SessionStore:
    from service.inference.state.session_lmdb import SharedSessions

    try:
        total = shutil.disk_usage(group.folder).total
        if total < limits.max_total_bytes:
            fields = {"folder": str(group.folder), "bytes": total, "wanted": limits.max_total_bytes}
            logger.warning("sessions are evicted before UNROLL_MAX_SESSION_TOTAL_BYTES: memory is small", extra=fields)
        return SharedSessions(group.folder, limits)
    except OSError as error:
        raise SettingsError(
            f"workers cannot share sessions in {group.folder}: {error.strerror or error}; in a container, give "
            "/dev/shm more memory (docker run --shm-size), or serve with one worker"
        ) from error
