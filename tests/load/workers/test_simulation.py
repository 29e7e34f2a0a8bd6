"""The simulation of many workers: what grows with them, and what ends it."""

from __future__ import annotations

import pytest

from tests.load.workers.display import workers_table
from tests.load.workers.run import Measured
from tests.load.workers.simulation import Constants, Use, limits, simulate

CONSTANTS = Constants(request_s=1e-3, connection_s=1e-4, wake_s=2e-5, lock_s=1e-4)


def test_answers_grow_with_the_workers_where_nothing_is_shared() -> None:
    ((_, _, scale),) = limits([16], CONSTANTS, Use(scrapes=0.0))
    assert scale == pytest.approx(16, rel=0.01)


def test_a_lock_that_every_request_takes_ends_it_at_the_time_that_it_is_held() -> None:
    found = simulate(64, CONSTANTS, Use(scrapes=0.0, locked=1.0))
    assert found.rate == pytest.approx(1 / CONSTANTS.lock_s, rel=0.01)
    assert found.lock_busy == pytest.approx(1.0, rel=0.01)


def test_connections_that_wake_all_workers_cost_more_the_more_there_are() -> None:
    few, many = (scale / count for count, _, scale in limits([4, 64], CONSTANTS, Use(connections=1.0)))
    assert many < few < 1


def test_the_table_has_a_row_for_each_use() -> None:
    assert workers_table(Measured(1000, 1000, 100, 120, 20, 5000)).row_count == 4
