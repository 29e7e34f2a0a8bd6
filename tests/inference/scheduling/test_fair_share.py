"""Fair queueing in exact numbers: lane time is shared between requests and between callers, and nothing starves."""

from __future__ import annotations

from collections import Counter

import pytest

from service.inference.scheduling.fair_share import BACKGROUND, SEVERAL_RUNS_S, FairShare, Turn

RUN_S = 0.1


class Clock:
    """Stands for `time.monotonic()`; only runs take time."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("service.inference.scheduling.fair_share.time.monotonic", clock)
    return clock


def serve(share: FairShare, clock: Clock, turns: dict[str, Turn], runs: int, run_s: dict[str, float]) -> Counter[str]:
    """Serve the next turn so many times; returns the runs of each."""
    served: Counter[str] = Counter()
    for _ in range(runs):
        name = min(turns, key=lambda name: turns[name].key)
        share.take(turns[name])
        clock.now_s += run_s[name]
        share.charge(turns[name], run_s[name])
        served[name] += 1
    return served


def test_equal_requests_have_equal_numbers_of_runs(clock: Clock) -> None:
    share = FairShare()
    turns = {name: share.begin("one") for name in "abcd"}
    assert set(serve(share, clock, turns, 80, dict.fromkeys("abcd", RUN_S)).values()) == {20}


def test_lane_time_is_shared_and_not_the_number_of_runs(clock: Clock) -> None:
    """Runs of a tenth of the duration are ten times as many."""
    share = FairShare()
    turns = {"long": share.begin("one"), "short": share.begin("one")}
    served = serve(share, clock, turns, 110, {"long": RUN_S, "short": RUN_S / 10})
    assert 8 <= served["short"] / served["long"] <= 12


def test_callers_share_alike_however_many_requests_they_have(clock: Clock) -> None:
    """One request of a caller gets as much as eight of another."""
    share = FairShare()
    turns = {f"many {number}": share.begin("many") for number in range(8)} | {"single": share.begin("single")}
    served = serve(share, clock, turns, 160, dict.fromkeys(turns, RUN_S))
    assert 70 <= served["single"] <= 90


@pytest.mark.parametrize("num_rivals", [1, 4, 50])
@pytest.mark.parametrize("caller", ["one", "another"])
def test_what_has_just_arrived_goes_first(clock: Clock, num_rivals: int, caller: str) -> None:
    """In the middle of any number of requests that have had runs or wait for their first of several."""
    share = FairShare()
    turns = {str(number): share.begin("one", SEVERAL_RUNS_S) for number in range(num_rivals)}
    serve(share, clock, turns, num_rivals + num_rivals // 2, dict.fromkeys(turns, 0.01))
    turns["new"] = share.begin(caller)
    assert min(turns, key=lambda name: turns[name].key) == "new"


def test_new_requests_however_many_do_not_starve_an_old_one(clock: Clock) -> None:
    share = FairShare()
    old = share.begin("one", SEVERAL_RUNS_S)
    num_before = 0
    while (new := share.begin("one")).key < old.key:
        serve(share, clock, {"new": new}, 1, {"new": 0.002})
        share.end(new)
        num_before += 1
        assert num_before < 1_000


def test_an_ended_request_counts_no_more(clock: Clock) -> None:
    """With the requests of the busy caller gone, the other one is no longer modest."""
    share = FairShare()
    crowd = [share.begin("many") for _ in range(9)]
    assert share.begin("single").is_modest
    for turn in crowd:
        share.end(turn)
    assert not share.begin("single").is_modest


def test_shadow_traffic_goes_last_and_takes_no_share(clock: Clock) -> None:
    """It came first, and every request that has something to run goes before it; alone it runs at once."""
    share = FairShare()
    shadow = share.begin(BACKGROUND)
    turns = {"shadow": shadow} | {name: share.begin("one") for name in "abcd"}
    assert serve(share, clock, turns, 40, dict.fromkeys(turns, RUN_S))["shadow"] == 0
    assert serve(share, clock, {"shadow": shadow}, 3, {"shadow": RUN_S}) == {"shadow": 3}
    crowd = [share.begin("one") for _ in range(4)]
    assert not any(turn.is_modest for turn in crowd)  # as if there were no other caller
    share.end(shadow)
    for turn in [*crowd, *(turns[name] for name in "abcd")]:
        share.end(turn)
    assert share.begin("one").is_modest is False


def test_shadow_traffic_has_its_turn_after_a_minute_of_load(clock: Clock) -> None:
    share = FairShare()
    shadow = share.begin(BACKGROUND)
    for _ in range(1000):
        turns = {"shadow": shadow, "new": share.begin("one")}
        if serve(share, clock, turns, 1, dict.fromkeys(turns, RUN_S))["shadow"]:
            break
        share.end(turns["new"])
    assert 20 <= clock.now_s - 1000.0 <= 90


@pytest.mark.parametrize(("weight", "times"), [(2.0, 2.0), (0.5, 0.5), (4.0, 4.0)])
@pytest.mark.parametrize("num_requests", [1, 5])
def test_a_caller_of_another_weight_gets_so_many_times_as_much(
    clock: Clock, weight: float, times: float, num_requests: int
) -> None:
    """However many requests each of the two has open."""
    share = FairShare({"key:heavy": weight})
    turns = {f"heavy {number}": share.begin("key:heavy") for number in range(num_requests)}
    turns |= {f"other {number}": share.begin("other") for number in range(3)}
    served = serve(share, clock, turns, 600, dict.fromkeys(turns, RUN_S))
    heavy = sum(count for name, count in served.items() if name.startswith("heavy"))
    assert heavy / (600 - heavy) == pytest.approx(times, rel=0.1)


@pytest.mark.parametrize("weight", [0.01, 1.0, 100.0])
def test_no_weight_lets_a_flood_go_before_a_single_request(clock: Clock, weight: float) -> None:
    """The request of the caller with the lowest weight is served next, whatever the weight of the flood."""
    share = FairShare({"key:flood": 100.0, "key:single": weight})
    turns = {str(number): share.begin("key:flood") for number in range(100)}
    serve(share, clock, turns, 150, dict.fromkeys(turns, 0.01))
    turns["single"] = share.begin("key:single")
    assert turns["single"].is_modest
    assert min(turns, key=lambda name: turns[name].key) == "single"


def test_a_weight_that_changes_counts_from_then_on(clock: Clock) -> None:
    weights: dict[str, float] = {}
    share = FairShare(weights)
    turns = {"one": share.begin("one"), "two": share.begin("two")}
    assert serve(share, clock, turns, 40, dict.fromkeys(turns, RUN_S))["one"] == 20
    weights["one"] = 3.0
    assert 28 <= serve(share, clock, turns, 40, dict.fromkeys(turns, RUN_S))["one"] <= 32
