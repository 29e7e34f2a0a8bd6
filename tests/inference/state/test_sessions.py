"""All session stores behave the same, and the Redis store handles an unavailable server."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from service.errors import SessionBusy, StateRefused
from service.inference.state.open_sessions import open_session_store
from service.inference.state.sealed_state import StateOwner
from service.inference.state.session_lmdb import SharedSessions
from service.inference.state.session_memory import LocalSessions
from service.inference.state.session_redis import RedisSessions
from service.inference.state.sessions import SessionLimits, SessionStore
from service.settings import SettingsError
from tests.inference.state.redis_server import RedisServer
from tests.inference.state.session_stores import (
    LIMITS,
    MAX_HOLD_S,
    MAX_SESSION_BYTES,
    TTL_S,
    load,
    redis_sessions,
    save,
)

Scenario = Callable[[SessionStore], Awaitable[None]]


class Clock:
    """A clock that the test advances."""

    now_s = 50.0

    def __call__(self) -> float:
        return self.now_s

    def let_time_pass(self, seconds: float) -> None:
        self.now_s += seconds


@dataclass
class Backend:
    """A kind of store: how to open one, and how to advance its time."""

    open: Callable[[], SessionStore]
    let_time_pass: Callable[[float], None]

    def play(self, scenario: Scenario) -> None:
        """Run a scenario with a new store in its own event loop."""

        async def run() -> None:
            store = self.open()
            try:
                await scenario(store)
            finally:
                await store.close()

        asyncio.run(run())


@pytest.fixture(params=["local", "shared", "redis"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    clock = Clock()
    if request.param == "local":
        return Backend(lambda: LocalSessions(LIMITS, clock), clock.let_time_pass)
    if request.param == "shared":
        return Backend(lambda: SharedSessions(tmp_path, LIMITS, clock), clock.let_time_pass)
    server = request.getfixturevalue("redis_server")
    server.clear()
    return Backend(lambda: redis_sessions(server), server.let_time_pass)


def test_what_was_saved_last_is_loaded(backend: Backend) -> None:
    """Each session keeps its last saved bytes unchanged, including zeros and line ends."""

    async def scenario(store: SessionStore) -> None:
        assert await load(store, "a") is None
        await save(store, "a", b"first")
        await save(store, "b", b"other")
        await save(store, "a", bytes(range(256)))
        assert await load(store, "a") == bytes(range(256))
        assert await load(store, "b") == b"other"

    backend.play(scenario)


def test_a_deleted_session_is_gone(backend: Backend) -> None:
    async def scenario(store: SessionStore) -> None:
        await save(store, "a", b"state")
        async with store.hold("a") as session:
            assert await session.delete()
            assert await session.load() is None
            assert not await session.delete()

    backend.play(scenario)


def test_the_second_request_on_a_session_is_refused(backend: Backend) -> None:
    """A second request on a held session is refused at once, from any store, and other sessions are not affected."""

    async def scenario(store: SessionStore) -> None:
        async with store.hold("a"):
            with pytest.raises(SessionBusy, match="another request"):
                async with store.hold("a"):
                    pytest.fail("two hold one session")
            with pytest.raises(SessionBusy):
                await load(store, "a")
            assert await load(store, "b") is None
        assert await load(store, "a") is None

    backend.play(scenario)


def test_a_request_that_fails_releases_its_session(backend: Backend) -> None:
    """A request that raises or is cancelled releases its session and leaves the saved state unchanged."""

    async def scenario(store: SessionStore) -> None:
        await save(store, "a", b"before")
        with pytest.raises(ZeroDivisionError):
            async with store.hold("a"):
                raise ZeroDivisionError
        held = asyncio.Event()

        async def hold_for_ever() -> None:
            async with store.hold("a"):
                held.set()
                await asyncio.Event().wait()

        request = asyncio.create_task(hold_for_ever())
        await held.wait()
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert await load(store, "a") == b"before"

    backend.play(scenario)


def test_of_many_requests_at_once_exactly_one_goes_on_from_each_state(backend: Backend) -> None:
    """Concurrent requests never resume from the same state: a counter equals the number of successful requests."""

    async def scenario(store: SessionStore) -> None:
        async def count_up() -> bool:
            try:
                async with store.hold("a") as session:
                    count = int(await session.load() or b"0")
                    await asyncio.sleep(0)
                    await session.save(b"%d" % (count + 1))
                    return True
            except SessionBusy:
                return False

        let_in = 0
        for _ in range(10):
            let_in += sum(await asyncio.gather(*(count_up() for _ in range(8))))
        assert let_in >= 10
        assert await load(store, "a") == b"%d" % let_in

    backend.play(scenario)


def test_a_session_that_is_not_used_expires(backend: Backend) -> None:
    async def scenario(store: SessionStore) -> None:
        await save(store, "a", b"state")
        backend.let_time_pass(TTL_S + 1)
        assert await load(store, "a") is None

    backend.play(scenario)


def test_loading_and_saving_are_use(backend: Backend) -> None:
    """Loading and saving each restart the time to live."""

    async def scenario(store: SessionStore) -> None:
        await save(store, "a", b"state")
        for _ in range(2):
            backend.let_time_pass(TTL_S * 0.7)
            assert await load(store, "a") == b"state"
        backend.let_time_pass(TTL_S * 0.7)
        await save(store, "a", b"next")
        backend.let_time_pass(TTL_S * 0.7)
        assert await load(store, "a") == b"next"

    backend.play(scenario)


def test_a_state_that_is_too_large_is_refused(backend: Backend) -> None:
    """A state of the maximum size is accepted; one byte more is refused and changes nothing."""

    async def scenario(store: SessionStore) -> None:
        await save(store, "a", bytes(MAX_SESSION_BYTES))
        with pytest.raises(StateRefused, match="1001 bytes, at most 1000") as refused:
            await save(store, "a", bytes(MAX_SESSION_BYTES + 1))
        assert refused.value.reason == "too_large"
        assert await load(store, "a") == bytes(MAX_SESSION_BYTES)

    backend.play(scenario)


CountingStore = LocalSessions | SharedSessions
PlayCounting = Callable[[Callable[[CountingStore, Clock], Awaitable[None]]], None]


@pytest.fixture(params=["local", "shared"])
def play_counting(request: pytest.FixtureRequest, tmp_path: Path) -> PlayCounting:
    """Runs a scenario with a new store that counts what it keeps."""

    def play(scenario: Callable[[CountingStore, Clock], Awaitable[None]]) -> None:
        async def run() -> None:
            clock = Clock()
            is_local = request.param == "local"
            store = LocalSessions(LIMITS, clock) if is_local else SharedSessions(tmp_path, LIMITS, clock)
            await scenario(store, clock)
            await store.close()

        asyncio.run(run())

    return play


def test_the_least_recently_used_session_is_evicted_first(play_counting: PlayCounting) -> None:
    async def scenario(store: CountingStore, _: Clock) -> None:
        for key in "abc":
            await save(store, key, key.encode())
        await load(store, "a")
        await save(store, "d", b"d")
        assert [await load(store, key) for key in "abcd"] == [b"a", None, b"c", b"d"]
        assert (len(store), store.num_bytes, store.num_evicted) == (3, 3, 1)

    play_counting(scenario)


def test_sessions_are_evicted_until_all_fit(play_counting: PlayCounting) -> None:
    """A large session evicts as many small ones as needed."""

    async def scenario(store: CountingStore, _: Clock) -> None:
        for key, size in [("a", 900), ("b", 900), ("c", 700), ("d", 1000)]:
            await save(store, key, bytes(size))
        assert [await load(store, key) is not None for key in "abcd"] == [False, False, True, True]
        assert (len(store), store.num_bytes, store.num_evicted) == (2, 1700, 2)

    play_counting(scenario)


def test_expired_sessions_take_no_memory_and_no_place(play_counting: PlayCounting) -> None:
    """Expired sessions are dropped at the next use of the store, for any session."""

    async def scenario(store: CountingStore, clock: Clock) -> None:
        await save(store, "a", bytes(900))
        clock.let_time_pass(TTL_S / 2)
        await save(store, "b", bytes(900))
        clock.let_time_pass(TTL_S / 2)
        await save(store, "c", bytes(900))
        assert (len(store), store.num_bytes) == (2, 1800)
        assert (store.num_expired, store.num_evicted) == (1, 0)

    play_counting(scenario)


def test_limits_must_let_one_session_in() -> None:
    with pytest.raises(ValueError, match="max_session_bytes"):
        SessionLimits(TTL_S, max_session_bytes=11, max_sessions=1, max_total_bytes=10)


def test_the_settings_choose_the_store(redis_server: RedisServer) -> None:
    assert isinstance(open_session_store("", LIMITS, MAX_HOLD_S), LocalSessions)
    assert isinstance(open_session_store(redis_server.url, LIMITS, MAX_HOLD_S), RedisSessions)
    with pytest.raises(SettingsError, match=r"UNROLL_REDIS_URL.*scheme"):
        open_session_store("http://somewhere", LIMITS, MAX_HOLD_S)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis address without the extra that it needs is an error at startup."""
    monkeypatch.delitem(sys.modules, "service.inference.state.session_redis")
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    with pytest.raises(SettingsError, match="needs the Redis client: make serve-env"):
        open_session_store("redis://localhost", LIMITS, MAX_HOLD_S)


def test_owners_with_the_same_session_id_have_different_sessions() -> None:
    """A session's key depends on model, version, bundle, owner and id, and is plain text of constant length."""
    ada = StateOwner("poet", "1", "ab", "Ada")
    others = [
        StateOwner("novelist", "1", "ab", "Ada"),
        StateOwner("poet", "2", "ab", "Ada"),
        StateOwner("poet", "1", "cd", "Ada"),
        StateOwner("poet", "1", "ab", "Bob"),
    ]
    keys = [owner.fingerprint("chat") for owner in (ada, *others)] + [ada.fingerprint("chat 2\ud800")]
    assert len(set(keys)) == 6
    assert {len(key) for key in keys} == {64}
    assert all(key.isalnum() for key in keys)
