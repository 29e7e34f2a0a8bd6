"""Processes that share a key-value store: what one computes, the faults of any, silence, and restarts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from torch.distributed import HashStore

from service.errors import UnrollError
from training.fit import coordination
from training.fit.coordination import (
    Coordination,
    Place,
    StoppedTogether,
    WorkersLost,
    agree_on_round,
    launch_id,
    num_restarts,
)


def together(work: Callable[[int], Any], count: int = 3) -> list[Any]:
    """What each of several threads returns or raises, in order of rank."""
    found: list[Any] = [None] * count

    def run(rank: int) -> None:
        try:
            found[rank] = work(rank)
        except BaseException as error:
            found[rank] = error

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def links(store: HashStore, timeout_s: float = 60.0, count: int = 3) -> list[Coordination]:
    """One process on node 0, and two on node 1."""
    places = [Place(0, 0, "10.0.0.1", "a"), Place(1, 0, "10.0.0.2", "b"), Place(1, 1, "10.0.0.2", "b")]
    return [Coordination(store, rank, count, places[rank], timeout_s) for rank in range(count)]


def fail(sentence: str) -> int:
    raise UnrollError(sentence)


def test_all_learn_the_places_of_all() -> None:
    """Places come in order of rank, and as sentences name node, host and address."""
    each = links(HashStore())
    found = together(lambda rank: [str(place) for place in each[rank].places()])
    assert found == [["node 0 (a, 10.0.0.1)", "node 1 (b, 10.0.0.2)", "node 1 (b, 10.0.0.2)"]] * 3


def test_the_fault_of_one_stops_all_with_its_node() -> None:
    """All raise the fault that one had, with its place; the first process of each node prints it."""
    each = links(HashStore())
    found = together(lambda rank: each[rank].by_all(lambda: fail("no such file") if rank == 2 else rank))
    assert [(type(error), str(error)) for error in found] == [
        (StoppedTogether, "node 1 (b, 10.0.0.2): no such file")
    ] * 3
    assert [error.told for error in found] == [True, True, False]


def test_a_fault_that_all_have_is_told_without_places() -> None:
    """A wrong option on every node is one sentence, not one for each process."""
    each = links(HashStore())
    found = together(lambda rank: each[rank].by_all(lambda: fail("no recipe of this name")))
    assert [str(error) for error in found] == ["no recipe of this name"] * 3


def test_what_ends_the_first_ends_the_others() -> None:
    """Others end with the status of a command that ended in good order, and with the sentence of one that failed."""

    class Exit(Exception):
        exit_code = 1

    def leave() -> None:
        raise Exit

    each = links(HashStore())
    _, one, other = together(lambda rank: each[rank].by_first(leave))
    assert (type(one), one.code, other.code) == (SystemExit, 1, 1)
    _, one, other = together(lambda rank: each[rank].by_first(lambda: fail("the disk is full")))
    assert str(one) == str(other) == "node 0 has stopped: the disk is full"
    assert (one.told, other.told) == (True, False)


def test_a_slow_process_is_awaited_and_a_silent_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that computes for longer than the timeout is awaited while it counts; one that never comes is lost."""
    monkeypatch.setattr(coordination, "BEAT_EVERY_S", 0.01)
    slow, silent = links(HashStore(), timeout_s=2.0), links(HashStore(), timeout_s=0.05)

    def compute() -> int:
        time.sleep(2.5)
        return 7

    assert together(lambda rank: slow[rank].by_first(compute)) == [7, None, None]
    with pytest.raises(WorkersLost, match=r"process 0 of 3 gave no sign of life for 0.05 s"):
        silent[1].by_first(compute)


def test_processes_of_another_round_are_not_mistaken() -> None:
    """After a restart the store still has the answers to dead processes: the new ones agree on a name of their own."""
    store = HashStore()
    names = [together(lambda rank: agree_on_round(store, rank, 3, 60.0)) for _ in range(3)]
    assert all(len(set(each)) == 1 for each in names)
    assert len({each[0] for each in names}) == 3


def test_a_restart_of_some_meets_the_new_first_one() -> None:
    """A process that came before the first one has died takes the name of the one that takes its place."""
    store = HashStore()
    with pytest.raises(WorkersLost, match=r"of 2 processes, 1 did not come within 0 s"):
        agree_on_round(store, 0, 2, 0.0)
    found = together(lambda rank: agree_on_round(store, rank, 2, 60.0), 2)
    assert found[0] == found[1]


def test_launches_of_torchrun_are_told_apart() -> None:
    """A launch has the name that it was given, or else that of its process, and counts its restarts."""
    assert launch_id({"TORCHELASTIC_RUN_ID": "job-7"}) == "job-7"
    assert launch_id({"TORCHELASTIC_RUN_ID": "none"}).startswith("process ")
    assert num_restarts({"TORCHELASTIC_RESTART_COUNT": "2"}) == 2
    assert num_restarts({}) == 0
