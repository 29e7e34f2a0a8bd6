"""Limits of keys hold for all workers of a service together, also while one of them is killed."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from service.access.access_control import AccessControl
from service.access.api_key import ApiKey, KeyLimits
from service.access.caller import Caller
from service.access.rate_limit import WINDOW_S
from service.access.shared_limits import KeyPlace, SharedLimits
from service.errors import Forbidden, RateLimited
from service.worker_group import WorkerGroup
from tests.access.key_makers import key, secret_of
from tests.inference.state.processes import tell, worker

#: Takes units of a limit at one moment and prints how many it got.
TAKE = """
import sys
from pathlib import Path
from service.access.shared_limits import SharedLimits
limit = SharedLimits(Path(sys.argv[1]), 2, 1).place_of("mia").rate_limit(int(sys.argv[2]), "requests")
print("ready", flush=True)
sys.stdin.readline()
print(sum(limit.take_one(1e6) == 0 for _ in range(int(sys.argv[3]))), flush=True)
"""
#: Opens requests and keeps them, or stays in the middle of a change.
HOLD = """
import sys
from pathlib import Path
from service.access.shared_limits import SharedLimits
place = SharedLimits(Path(sys.argv[1]), 2, 1).place_of("mia")
if sys.argv[2] == "change":
    place.__enter__()
else:
    assert all(place.open_one(number, 9) for number in range(int(sys.argv[2])))
print("ready", flush=True)
sys.stdin.readline()
"""


def place_in(folder: Path) -> KeyPlace:
    place = SharedLimits(folder, 2, 1).place_of("mia")
    assert place is not None
    return place


def test_two_processes_at_once_get_exactly_the_limit(tmp_path: Path) -> None:
    """Of 4,000 requests to two processes at the same moment, 1,000 are allowed: none is lost, none counted twice."""
    with worker(TAKE, tmp_path, 1000, 2000) as ours, worker(TAKE, tmp_path, 1000, 2000) as theirs:
        outputs = tell(ours, theirs)
    assert sum(map(int, outputs)) == 1000


def test_what_a_killed_worker_had_open_is_free_at_once(tmp_path: Path) -> None:
    place = place_in(tmp_path)
    with worker(HOLD, tmp_path, 2) as other:
        assert place.open_one(0, 3)
        assert not place.open_one(1, 3)
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
        assert place.open_one(1, 3)
        assert place.open_one(2, 3)
        assert not place.open_one(3, 3)


def test_a_worker_killed_in_the_middle_of_a_change_stops_nobody(tmp_path: Path) -> None:
    """The lock of a dead process is none; that of one that is stopped there is waited for, and not for ever."""
    limit = place_in(tmp_path).rate_limit(2, "requests")
    with worker(HOLD, tmp_path, "change") as other:
        assert limit.take_one(1e6) == 0
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
        assert limit.take_one(1e6) == 0
        assert limit.take_one(1e6) > 0


def test_a_worker_that_takes_the_place_of_a_dead_one_begins_with_nothing_open(tmp_path: Path) -> None:
    for _ in range(20):
        limits = SharedLimits(tmp_path, 1, 1)
        place = limits.place_of("mia")
        assert place is not None
        assert place.open_one(0, 1)
        limits.close()


def test_tokens_of_one_worker_are_owed_at_the_other(tmp_path: Path) -> None:
    """300 tokens of 100 a minute are waited for everywhere; the requests of the key are another limit."""
    ours, theirs = place_in(tmp_path), place_in(tmp_path)
    ours.rate_limit(100, "tokens").take(1e6, 300)
    assert theirs.rate_limit(100, "tokens").wait_s(1e6) == pytest.approx(2 * WINDOW_S + WINDOW_S / 100, abs=0.01)
    assert theirs.rate_limit(100, "requests").take_one(1e6) == 0
    headers = dict(theirs.rate_limit(100, "tokens").headers(1e6))
    assert headers[b"x-ratelimit-remaining-tokens"] == b"0"


def accesses(folder: Path, *keys: ApiKey) -> tuple[AccessControl, AccessControl]:
    """Access control of two workers."""
    ours, theirs = (AccessControl(lambda: list(keys), group=WorkerGroup(n, 2, folder)) for n in range(2))
    return ours, theirs


def caller_of(access: AccessControl, name: str = "mia") -> Caller:
    return access.identify(b"Bearer " + secret_of(name).encode(), b"")


def count_allowed(*callers: Caller) -> int:
    """Requests that are allowed of ten to each in turn; they stay open."""
    allowed = 0
    for _ in range(10):
        for caller in callers:
            try:
                caller.admit("predict")
                allowed += 1
            except RateLimited:
                pass
    return allowed


@pytest.mark.parametrize("limits", [{"requests_per_minute": 7}, {"concurrent_requests": 7}])
def test_the_limit_of_a_key_is_that_of_the_service(tmp_path: Path, limits: dict[str, int]) -> None:
    """Two workers allow together what one would; another key has its own, and one without limits none."""
    mia, ned, ola = key("mia", limits=KeyLimits(**limits)), key("ned", limits=KeyLimits(**limits)), key("ola")
    ours, theirs = accesses(tmp_path, mia, ned, ola)
    assert count_allowed(caller_of(ours), caller_of(theirs)) == 7
    assert count_allowed(caller_of(theirs, "ned")) == 7
    assert count_allowed(caller_of(ours, "ola"), caller_of(theirs, "ola")) == 20


def test_requests_that_end_or_are_refused_are_not_open(tmp_path: Path) -> None:
    """Only what was admitted and has not ended counts: no refusal takes a place."""
    mia = key("mia", scopes=("predict",), limits=KeyLimits(concurrent_requests=1, max_body_bytes=5))
    ours, theirs = map(caller_of, accesses(tmp_path, mia))
    for _ in range(3):
        with pytest.raises(Forbidden):
            ours.admit("generate")
        with pytest.raises(Exception, match="larger"):
            ours.admit("predict", b"6")
        ours.admit("predict")
        with pytest.raises(RateLimited, match="1 requests at once"):
            theirs.admit("predict")
        ours.end("m")
        theirs.admit("predict")
        theirs.end("m")


def test_limits_that_change_while_requests_are_open(tmp_path: Path) -> None:
    """A limit that a key is given later counts the requests that it has open from then on, and never less than none."""
    keys = [key("mia")]
    access = AccessControl(lambda: list(keys), group=WorkerGroup(0, 2, tmp_path))
    caller = caller_of(access)
    caller.admit("predict")
    keys[0] = key("mia", limits=KeyLimits(concurrent_requests=2))
    assert access.take_over(access.read_again()) == "ok"
    other = caller_of(AccessControl(lambda: list(keys), group=WorkerGroup(1, 2, tmp_path)))
    caller.admit("predict")
    with pytest.raises(RateLimited):
        other.admit("predict")
    caller.end("m")
    caller.end("m")
    assert count_allowed(other) == 2


def test_more_keys_than_places_are_counted_by_each_worker(tmp_path: Path) -> None:
    """A key that comes when all places are taken still has its limit, at each worker."""
    limits = SharedLimits(tmp_path, 2, 0)
    places = [limits.place_of(f"key {number}") for number in range(1024)]
    assert None not in places
    assert limits.place_of("one more") is None
    assert limits.place_of("key 7") is not None
    assert Counter(map(type, places)) == {KeyPlace: 1024}
