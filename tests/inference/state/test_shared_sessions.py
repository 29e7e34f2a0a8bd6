"""Sessions of several workers: one store, one holder at a time, and nothing that a killed worker leaves behind."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from service.errors import NotReady, SessionBusy, SessionStoreFull
from service.inference.state import shared_store
from service.inference.state.open_sessions import open_session_store
from service.inference.state.sealed_state import StateSealer
from service.inference.state.session_lmdb import SharedSessions
from service.inference.state.session_names import SessionNames
from service.inference.state.sessions import SessionLabel, SessionLimits, SessionStore
from service.inference.state.shared_store import SharedStore
from service.settings import SettingsError
from service.worker_group import WorkerGroup
from tests.inference.state.processes import tell, worker
from tests.inference.state.session_stores import LIMITS, MAX_HOLD_S, load, save

OWNER = "o" * 64
#: Counts a session up, again and again, and prints how often.
COUNT = """
import asyncio, sys
from pathlib import Path
from service.errors import SessionBusy
from service.inference.state.session_lmdb import SharedSessions
from service.inference.state.sessions import SessionLimits
store = SharedSessions(Path(sys.argv[1]), SessionLimits(100.0, 1000, 3, 2500))
async def count_up():
    done = 0
    while done < int(sys.argv[2]):
        try:
            async with store.hold("counter") as session:
                await session.save(b"%d" % (int(await session.load() or b"0") + 1))
                done += 1
        except SessionBusy:
            pass
    return done
print("ready", flush=True)
sys.stdin.readline()
print(asyncio.run(count_up()), flush=True)
"""
#: Holds a session, and saves it for ever.
HOLD = """
import asyncio, sys
from pathlib import Path
from service.inference.state.session_lmdb import SharedSessions
from service.inference.state.sessions import SessionLimits
store = SharedSessions(Path(sys.argv[1]), SessionLimits(100.0, 1000, 3, 2500))
async def hold():
    async with store.hold("held") as session:
        await session.save(b"0")
        print("ready", flush=True)
        for number in range(10**9):
            await session.save(b"%d" % number * 20)
asyncio.run(hold())
"""

#: Saves far more than the file may have, and prints how many of them it finds.
FILL = """
import asyncio, resource, sys
from pathlib import Path
from service.inference.state.session_lmdb import SharedSessions
from service.inference.state.sessions import SessionLimits
resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))
store = SharedSessions(Path(sys.argv[1]), SessionLimits(100.0, 10_000, 1000, 10_000_000))
async def load(name):
    async with store.hold(name) as session:
        return await session.load()
async def fill():
    for number in range(200):
        async with store.hold(str(number)) as session:
            await session.save(bytes(5000))
    print("ready", flush=True)
    found = [number for number in range(200) if await load(str(number)) is not None]
    print(found[-1] == 199, 20 < len(found) < 200, len(store) == len(found), store.num_evicted + len(found), flush=True)
asyncio.run(fill())
"""

Scenario = Callable[[SharedSessions, SharedSessions], Awaitable[None]]


def play(folder: Path, scenario: Scenario, limits: SessionLimits = LIMITS) -> None:
    """Run a scenario with the stores of two workers."""

    async def run() -> None:
        ours, theirs = SharedSessions(folder, limits), SharedSessions(folder, limits)
        try:
            await scenario(ours, theirs)
        finally:
            await ours.close()
            await theirs.close()

    asyncio.run(run())


def test_workers_have_the_same_sessions_and_hold_them_in_turn(tmp_path: Path) -> None:
    async def scenario(ours: SharedSessions, theirs: SharedSessions) -> None:
        async with ours.hold("a") as session:
            await session.save(b"state")
            with pytest.raises(SessionBusy):
                await load(theirs, "a")
            await save(theirs, "b", b"other")
        assert await load(theirs, "a") == b"state"
        assert (len(ours), ours.num_bytes) == (len(theirs), theirs.num_bytes) == (2, 10)

    play(tmp_path, scenario)


def test_two_processes_never_go_on_from_the_same_state(tmp_path: Path) -> None:
    """Each of two processes counts one session up 200 times at once: it ends at 400."""
    with worker(COUNT, tmp_path, 200) as ours, worker(COUNT, tmp_path, 200) as theirs:
        assert tell(ours, theirs) == ["200\n", "200\n"]

    async def scenario(store: SharedSessions, _: SharedSessions) -> None:
        assert await load(store, "counter") == b"400"

    play(tmp_path, scenario)


def test_what_a_killed_worker_held_is_free_at_once(tmp_path: Path) -> None:
    """Killed while it holds a session and writes it: the state is a whole one, and the next request goes on from it."""

    async def scenario(store: SharedSessions, _: SharedSessions) -> None:
        for _ in range(2):
            with worker(HOLD, tmp_path) as other:
                with pytest.raises(SessionBusy):
                    await load(store, "held")
                os.kill(other.pid, signal.SIGKILL)
                other.wait()
                state = await load(store, "held")
                assert state == b"0" or (state is not None and state == state[: len(state) // 20] * 20)
                await save(store, "held", b"next")
                assert await load(store, "held") == b"next"

    play(tmp_path, scenario)


def test_the_limits_are_those_of_all_workers_together(tmp_path: Path) -> None:
    """Two workers save in turn: the least recently used session of either is evicted, and each counts its own."""

    async def scenario(ours: SharedSessions, theirs: SharedSessions) -> None:
        for number in range(10):
            await save(ours, f"ours {number}", bytes(400))
            await save(theirs, f"theirs {number}", bytes(400))
            assert await load(theirs, "ours 0") is not None
            assert len(ours) <= LIMITS.max_sessions
        assert ours.num_evicted + theirs.num_evicted == 17
        await save(ours, "large", bytes(1000))
        await save(theirs, "larger", bytes(1000))
        await save(ours, "largest", bytes(1000))
        assert ours.num_bytes == 2000

    play(tmp_path, scenario)


def test_the_sessions_of_an_owner_are_listed_by_every_worker(tmp_path: Path) -> None:
    """Those used last first, with size and expiry; not those of others, without a label, deleted or evicted."""

    async def scenario(ours: SharedSessions, theirs: SharedSessions) -> None:
        for name in ("a", "b", "c"):
            async with ours.hold(name, SessionLabel(OWNER, name.encode())) as session:
                await session.save(bytes(10))
        assert await load(theirs, "a") is not None
        async with theirs.hold("d", SessionLabel("p" * 64, b"d")) as session:
            await session.save(b"of another")
        listed = await theirs.kept_by(OWNER)
        assert [(one.key, one.label, one.num_bytes) for one in listed] == [("a", b"a", 10), ("c", b"c", 10)]
        assert all(LIMITS.ttl_s - 50 < one.expires_in_s <= LIMITS.ttl_s for one in listed)
        async with ours.hold("a") as session:
            assert await session.delete()
        assert [one.key for one in await theirs.kept_by(OWNER)] == ["c"]
        assert await ours.kept_by("nobody") == []

    play(tmp_path, scenario)


@pytest.fixture
def small_map(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that has room for a few dozen states, whatever was asked for."""
    monkeypatch.setattr(shared_store, "_ROOM", 0.0)
    monkeypatch.setattr(shared_store, "_SPARE_BYTES", 400 * 1024)


BIG = SessionLimits(100.0, 1_000_000, 10_000, 100_000_000)


@pytest.mark.usefixtures("small_map")
def test_where_there_is_no_room_the_least_recently_used_make_some(tmp_path: Path) -> None:
    """The memory ends before the limits: saving goes on, with the sessions used last, by both workers."""

    async def scenario(ours: SharedSessions, theirs: SharedSessions) -> None:
        for number in range(200):
            await save((ours, theirs)[number % 2], str(number), bytes(5000))
            assert await load(ours, str(number)) == bytes(5000)
        assert await load(theirs, "199") is not None
        assert await load(theirs, "0") is None
        assert len(ours) + ours.num_evicted + theirs.num_evicted == 200

    play(tmp_path, scenario, BIG)


def test_where_the_folder_has_no_room_the_least_recently_used_make_some(tmp_path: Path) -> None:
    """The system refuses to let the file grow, as in a container with little memory for /dev/shm."""
    with worker(FILL, tmp_path) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "True True True 200\n"


@pytest.mark.usefixtures("small_map")
def test_a_state_for_which_there_is_no_room_at_all_is_not_kept(tmp_path: Path) -> None:
    """Saving says that there is no room, and leaves no old state; what is smaller is kept afterwards."""

    async def scenario(store: SharedSessions, _: SharedSessions) -> None:
        await save(store, "a", b"before")
        async with store.hold("a") as session:
            with pytest.raises(SessionStoreFull):
                await session.save(bytes(1_000_000))
        assert await load(store, "a") is None
        assert store.failures["full"] == 1
        await save(store, "a", b"again")
        assert await load(store, "a") == b"again"

    play(tmp_path, scenario, BIG)


def test_a_store_that_is_broken_is_not_ready_and_begins_anew(tmp_path: Path) -> None:
    """Garbage in the file is an error that says so, for one request at each worker at most; then all begin anew."""

    async def scenario(ours: SharedSessions, theirs: SharedSessions) -> None:
        for number in range(100):
            await save(ours, str(number), bytes(50))
        path = tmp_path / "sessions" / "0" / "data.mdb"
        with path.open("r+b") as file:
            file.seek(8192)
            file.write(b"\xff" * (path.stat().st_size - 8192))
        with pytest.raises(NotReady, match="cannot be reached"):
            await save(theirs, "a", b"state")
        await save(theirs, "a", b"again")
        assert await load(ours, "a") == b"again"
        assert len(ours) == len(theirs) == 1
        await ours.check()

    play(tmp_path, scenario, BIG)


def test_a_store_that_was_spoiled_before_a_worker_starts(tmp_path: Path) -> None:
    """A new worker puts aside what is no store, or was cut off, and begins with none."""
    for content in (b"no store" * 2000, b"\0" * 4096):
        (tmp_path / "sessions" / "0").mkdir(parents=True, exist_ok=True)
        (tmp_path / "sessions" / "0" / "data.mdb").write_bytes(content)

        async def scenario(store: SharedSessions, _: SharedSessions) -> None:
            await save(store, "a", b"state")
            assert await load(store, "a") == b"state"

        play(tmp_path, scenario)


def test_a_store_that_was_cut_off_begins_anew(tmp_path: Path) -> None:
    """Reading what was cut off would be a signal that ends each worker in turn: it is noticed at the start of one."""
    store = SharedStore(tmp_path / "store", 50_000_000)
    for number in range(400):
        store.change(lambda transaction, name=b"%d" % number: transaction.put(name, bytes(5000)))  # type: ignore[misc]
    store.close()
    del store
    gc.collect()
    os.truncate(tmp_path / "store" / "0" / "data.mdb", 100_000)
    again = SharedStore(tmp_path / "store", 50_000_000)
    assert again.look(lambda transaction: transaction.get(b"1")) is None
    assert again.change(lambda transaction: transaction.put(b"1", b"new"))
    again.close()


def test_looking_at_a_closed_store_is_no_failure(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The last metrics of a worker that ends are measured after it."""
    store = SharedSessions(tmp_path, LIMITS)
    asyncio.run(store.close())
    assert (len(store), store.num_bytes, store.failures, caplog.messages) == (0, 0, {}, [])


def test_a_folder_that_cannot_be_used_is_named_at_the_start(tmp_path: Path) -> None:
    group = WorkerGroup(0, 2, tmp_path / "gone" / "file")
    (tmp_path / "gone").write_text("a file")
    with pytest.raises(SettingsError, match=r"workers cannot share sessions in .*gone"):
        open_session_store("", LIMITS, MAX_HOLD_S, group)


def test_without_keys_the_workers_of_a_group_have_one_key(tmp_path: Path) -> None:
    """States and names that one worker makes are valid at another, also at one that was started later."""
    groups = [WorkerGroup(index, 2, tmp_path) for index in (0, 1, 0)]
    secrets = {group.secret() for group in groups}
    assert len(secrets) == 1
    assert (tmp_path / "secret").stat().st_mode & 0o077 == 0
    sealers = [StateSealer([group.secret()], 60.0, 10_000) for group in groups]
    owner = SimpleNamespace(caller_fingerprint="c", model="m", version="1", digest="d")
    token = sealers[0].seal(b"state", owner)  # type: ignore[arg-type]
    assert [sealer.open(token, owner) for sealer in sealers] == [b"state"] * 3  # type: ignore[arg-type]
    names = [SessionNames([group.secret()]) for group in groups]
    assert names[1].is_issued(names[0].issue("chat"))
    (tmp_path / "other").mkdir()
    assert WorkerGroup(0, 2, tmp_path / "other").secret() not in secrets
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["secret"]


def test_redis_is_used_by_all_workers_where_it_is_set(tmp_path: Path) -> None:
    store: SessionStore = open_session_store("redis://localhost:1", LIMITS, MAX_HOLD_S, WorkerGroup(0, 2, tmp_path))
    assert type(store).__name__ == "RedisSessions"
    assert not list(tmp_path.iterdir())
