"""Observations are kept and counted later: whoever reads sees all of them, in whatever thread they were made."""

from __future__ import annotations

import threading

from service.observability.inference_statistics import InferenceStatistics, Total
from service.observability.scrape.loop_metrics import LoopObservations
from service.observability.timings import Timings


def test_every_observation_is_in_its_bucket_and_in_the_sum() -> None:
    """Bounds belong to the bucket below, and more than are kept at once are counted too."""
    series = LoopObservations([1.0, 2.0])
    for _ in range(1000):
        for amount in (0.5, 1.0, 1.5, 3.0):
            series.observe(amount)
    assert (series.counts, series.total) == ([2000, 1000, 1000], 6000.0)
    series.observe(2.0, {"trace_id": "a"})
    assert (series.counts, series.exemplars[1].value) == ([2000, 1001, 1000], 2.0)


def test_none_is_lost_or_counted_twice_while_others_read() -> None:
    """Several threads observe and several read."""
    series = LoopObservations([1.0])

    def observe() -> None:
        for _ in range(20_000):
            series.observe(1.0)

    def read() -> None:
        for _ in range(200):
            assert sum(series.counts) <= 40_000

    threads = [threading.Thread(target=work) for work in (observe, observe, read, read)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (sum(series.counts), series.total) == (40_000, 40_000.0)


def test_statistics_have_every_answer_at_whatever_moment_they_are_read() -> None:
    """Before and after what was kept is summed by itself."""
    statistics = InferenceStatistics()
    for number in range(1, 3001):
        statistics.succeed(Timings(1.0, 2.0, 3.0, 4.0, 10.0, 1), 2)
        if number in (1, 1023, 1024, 3000):
            assert statistics.success == Total(number, number * 10.0 / 1000)
            assert statistics.inference == Total(number, number * 3.0 / 1000)
    assert statistics.num_inputs == 6000
