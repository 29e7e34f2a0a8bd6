"""Fair queueing: whose turn it is on the lanes, by the lane time that each request has had.

Start-time fair queueing (Goyal, Vin and Cheng 1996). Every request is a flow with a tag in seconds: the lane time that
it has had, counted from the virtual time at which it arrived. The lowest tag is served next, and the virtual time is
the tag of what was served last. So a request that has just arrived goes before the second run of every other one, and a
request of many runs gets as much of the lanes as each of its rivals, no more.

    lane        big, run 1   small   big, run 2   other, run 1   big, run 3
    arrives     small                other
    tag of big  0            0.1                  0.2

Two refinements. The tag of a request of long runs stands for their end rather than for their start, as in weighted fair
queueing, so that a short request does not wait for the first run of many long ones. And waiting counts: a tag falls
by a tenth of a second each second, so that a stream of new requests, however dense, starves nothing.

Callers share alike: seconds count for more where a caller has more open requests than the mean of all callers, for less
where it has fewer. With a single caller, or one request each, the weights are 1. A request of a caller that has at most
half of the mean is modest: it counts as if it had waited for a second, and goes before a crowd of requests that came
together.

A caller may have a weight: with 2 it gets twice as much of the lanes as a caller with 1 while both have work waiting. A
weight never makes a caller modest, and none makes a modest request wait.

Shadow traffic, whose caller is `BACKGROUND`, counts as if it had come a minute later, and takes no share from anybody.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

#: By how much a request's tag falls for each second that it waits.
_AGEING = 0.1
#: What a modest request is ahead of others.
_CREDIT_S = 0.1
_MODEST_WEIGHT = 0.5
#: A run of at most this duration counts as short: such requests are served in order of arrival.
_SHORT_S = 0.01
#: The caller of shadow traffic, whom nobody waits for. No address or key of a client is like it.
BACKGROUND = "\0background"
#: What its turns are behind others: with ageing, they still have one after a minute of load without a pause.
_BACKGROUND_S = 6.0
#: What the next run of a request that needs several is expected to take; less matters little.
SEVERAL_RUNS_S = 0.06
#: The least that a run is charged, so that the requests of runs too short to be measured take turns as well.
_LEAST_CHARGE_S = 0.0005
#: All callers are alike.
EQUAL_WEIGHTS: Mapping[str, float] = MappingProxyType({})


@dataclass(eq=False, slots=True)
class Turn:
    """The place of one flow in the order: of a request, or of a running batch.

    Attributes:
        caller: who asks; empty if that is not known.
        tag_s: lane time that it has had, from the virtual time of its arrival on.
        run_s: how long its next run is expected to take.
        since_s: when it began to wait for its next run, on `time.monotonic()`'s clock.
        is_modest: whether its caller had at most half of the mean of open requests when it arrived.
        key: its place; the lowest is served next.
    """

    caller: str
    tag_s: float
    run_s: float
    since_s: float
    is_modest: bool = False
    key: float = 0.0


class FairShare:
    """The turns of all requests that share some threads. Begin and end turns in the event loop, take and charge them
    while no other thread does: under the lock of the lanes.
    """

    def __init__(self, weights: Mapping[str, float] = EQUAL_WEIGHTS) -> None:
        """`weights` are those of callers, where they are not 1; they may change at any time."""
        self._weights = weights
        self._virtual_s = 0.0
        #: Requests that have begun and not ended, but for shadow traffic.
        self.num_open = 0
        self._open_by_caller: dict[str, int] = {}

    def begin(self, caller: str, run_s: float = 0.0) -> Turn:
        """The turn of a request that has just arrived; `end` it. `run_s` is the expected duration of its first run."""
        if caller == BACKGROUND:  # it takes no share from anybody
            return self._placed(Turn(caller, self._virtual_s, run_s, time.monotonic()))
        num_own = self._open_by_caller[caller] = self._open_by_caller.get(caller, 0) + 1
        self.num_open += 1
        turn = Turn(caller, self._virtual_s, run_s, time.monotonic())
        if num_own * len(self._open_by_caller) <= _MODEST_WEIGHT * self.num_open:
            turn.is_modest, turn.tag_s = True, turn.tag_s - _CREDIT_S
        return self._placed(turn)

    def end(self, turn: Turn) -> None:
        """The request has been answered or has left. Call it once."""
        if turn.caller == BACKGROUND:
            return
        self.num_open -= 1
        self._open_by_caller[turn.caller] -= 1
        if not self._open_by_caller[turn.caller]:
            del self._open_by_caller[turn.caller]

    def begin_shared(self) -> Turn:
        """The turn of a batch that many requests share. It belongs to no caller and has no end."""
        return self._placed(Turn("", self._virtual_s, 0.0, time.monotonic()))

    def renew(self, turn: Turn) -> None:
        """What has the turn was idle, and arrives anew: it owes nothing, and nothing is owed to it."""
        turn.tag_s, turn.since_s = self._virtual_s, time.monotonic()
        self._placed(turn)

    def take(self, turn: Turn) -> None:
        """A run begins that serves this turn."""
        self._virtual_s = max(self._virtual_s, turn.tag_s)

    def charge(self, turn: Turn, run_s: float) -> None:
        """The turn has had so much lane time, and waits for its next run from now on."""
        turn.tag_s += max(_LEAST_CHARGE_S, run_s) * self._weight(turn)
        turn.since_s = time.monotonic()
        self._placed(turn)

    def _placed(self, turn: Turn) -> Turn:
        turn.key = turn.tag_s + _AGEING * turn.since_s
        if turn.run_s > _SHORT_S:
            turn.key += (turn.run_s - _SHORT_S) * self._weight(turn)
        if turn.caller == BACKGROUND:
            turn.key += _BACKGROUND_S
        return turn

    def _weight(self, turn: Turn) -> float:
        """By how much a second of the turn's lane time counts for more."""
        crowd = self._crowd(turn)
        return crowd / self._weights.get(turn.caller, 1.0) if self._weights else crowd

    def _crowd(self, turn: Turn) -> float:
        """Open requests of the turn's caller over the mean of all callers."""
        num_own = self._open_by_caller.get(turn.caller, 0)
        return num_own * len(self._open_by_caller) / max(1, self.num_open) if num_own else 1.0
