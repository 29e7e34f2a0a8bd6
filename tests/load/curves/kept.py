"""Cost curves of sessions: memory of one process, and the store that workers share, up to a million of them."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from service.inference.state.session_lmdb import SharedSessions
from service.inference.state.session_memory import LocalSessions
from service.inference.state.sessions import SessionLabel, SessionLimits, SessionStore
from tests.load.curves.point import Point, resident_mb

SESSIONS = (1_000, 10_000, 100_000, 1_000_000)
#: Each session takes a transaction, so that a million take a quarter of an hour to make.
_MOST_SHARED = 100_000
#: The state of a small model: two layers of 32 numbers.
_STATE = bytes(512)
_NUM_USED = 2_000
_LIMITS = SessionLimits(3600.0, 64 * 1024, 2_000_000, 8 * 1024**3)


def sessions(sizes: tuple[int, ...] = SESSIONS) -> Iterator[Point]:
    """Time of a request's part, of an owner's list, and memory, against the number of sessions that are kept."""
    yield from asyncio.run(_curve("in memory", LocalSessions(_LIMITS), sizes))
    shared = tuple(size for size in sizes if size <= _MOST_SHARED)
    with tempfile.TemporaryDirectory(prefix="curves-", dir="/dev/shm") as folder:
        yield from asyncio.run(_curve("shared by workers", SharedSessions(Path(folder), _LIMITS), shared))


async def _curve(where: str, store: SessionStore, sizes: tuple[int, ...]) -> list[Point]:
    points: list[Point] = []
    kept = 0
    for size in sizes:
        for number in range(kept, size):
            await _use(store, number)
        kept = size
        before_s = time.process_time()
        for number in range(_NUM_USED):
            await _use(store, number * (size // _NUM_USED or 1) % size)
        used_s = (time.process_time() - before_s) / _NUM_USED
        points.append(Point(f"use a session, {where}", size, used_s, resident_mb("self")))
        before_s = time.process_time()
        await store.kept_by("owner-1")
        points.append(Point(f"list an owner's, {where}", size, time.process_time() - before_s))
    await store.close()
    return points


async def _use(store: SessionStore, number: int) -> None:
    """What a request does: read the state, and write the next one. Every owner has ten sessions."""
    label = SessionLabel(f"owner-{number // 10}", b"a label")
    async with store.hold(f"key-{number}", label) as held:
        await held.load()
        await held.save(_STATE)
