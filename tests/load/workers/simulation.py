"""A simulation of many workers with measured constants: how throughput grows with the cores, and what ends it.

Workers answer callers who ask again at once. What they share costs time on top: new connections that wake all other
workers, scrapes that one worker answers for all, and a lock for requests that change what is shared.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import NamedTuple

_SECONDS = 5.0


class Constants(NamedTuple):
    """Times in seconds, of one core.

    Attributes:
        request_s: CPU time of a request.
        connection_s: of accepting a connection and handing it over.
        wake_s: of a worker that is woken for a connection which another takes.
        publish_s: of writing a worker's metrics; merge_s: of reading those of one worker.
        lock_s: for how long a request that changes something shared holds the lock.
        bandwidth: share by which each further busy core slows all others, as they share the memory.
    """

    request_s: float
    connection_s: float = 150e-6
    wake_s: float = 20e-6
    publish_s: float = 12e-3
    merge_s: float = 5e-3
    lock_s: float = 30e-6
    bandwidth: float = 0.0


class Use(NamedTuple):
    """How the service is used: connections for each request, scrapes a second, share of requests that take the lock."""

    connections: float = 0.0
    scrapes: float = 1 / 15
    locked: float = 0.0
    publish_every_s: float = 5.0


class Simulated(NamedTuple):
    """Answers a second, and the share of one core's time that each shared thing takes."""

    rate: float
    lock_busy: float
    scrape_busy: float
    wake_share: float


def simulate(num_workers: int, constants: Constants, use: Use) -> Simulated:
    """Every worker is always busy; requests that need the lock queue for it in the order of their arrival."""
    request_s = constants.request_s * (1 + constants.bandwidth * (num_workers - 1))
    own_s, woken_s = _overhead(num_workers, constants, use)
    turns = [(worker * request_s / num_workers, worker) for worker in range(num_workers)]
    heapq.heapify(turns)
    lock_free_s, lock_busy_s, num_answers, carried = 0.0, 0.0, 0, 0.0
    while turns[0][0] < _SECONDS:
        now_s, worker = heapq.heappop(turns)
        carried += use.locked
        if carried >= 1.0:
            carried -= 1.0
            begun_s = max(now_s, lock_free_s)
            lock_free_s = begun_s + constants.lock_s
            lock_busy_s += constants.lock_s
            now_s = lock_free_s
        is_asked = worker == 0  # the one that a scraper's connection is with
        slowed = 1 - _background(num_workers, constants, use, is_asked=is_asked)
        heapq.heappush(turns, (now_s + (request_s + own_s + woken_s) / max(0.01, slowed), worker))
        num_answers += 1
    rate = num_answers / _SECONDS
    scrape_busy = _background(num_workers, constants, use, is_asked=True)
    return Simulated(rate, lock_busy_s / _SECONDS, scrape_busy, woken_s / (request_s + own_s + woken_s))


def _overhead(num_workers: int, constants: Constants, use: Use) -> tuple[float, float]:
    """What a request costs for its connection: by itself, and where all others are woken as well."""
    return use.connections * constants.connection_s, use.connections * (num_workers - 1) * constants.wake_s


def _background(num_workers: int, constants: Constants, use: Use, *, is_asked: bool) -> float:
    """Share of a worker's time for metrics."""
    share = constants.publish_s * (1 / use.publish_every_s + use.scrapes)
    return share + is_asked * use.scrapes * num_workers * constants.merge_s


def limits(workers: Sequence[int], constants: Constants, use: Use) -> list[tuple[int, Simulated, float]]:
    """For each number of workers what is answered, and how many times what one answers."""
    one = simulate(1, constants, use).rate
    return [(count, found := simulate(count, constants, use), found.rate / one) for count in workers]
