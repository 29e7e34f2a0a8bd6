"""The table of what many workers would answer, by the simulation with what was measured."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table

from tests.load.workers.run import Measured
from tests.load.workers.simulation import Constants, Use, limits

WORKERS = (2, 16, 64)
USES: Mapping[str, Use] = {
    "connections are kept": Use(),
    "a connection for each request": Use(connections=1.0),
    "each request takes the shared lock": Use(locked=1.0),
    "one in ten takes it": Use(locked=0.1),
}


def constants_of(measured: Measured) -> Constants:
    """The constants of the simulation; those that were not measured keep their defaults."""
    return Constants(
        request_s=measured.two_us / 1e6,
        connection_s=max(0.0, measured.connection_one_us) / 1e6,
        wake_s=max(0.0, measured.connection_two_us - measured.connection_one_us) / 1e6,
    )


def workers_table(measured: Measured) -> Table:
    """How many times what one worker answers, for each use and number of workers."""
    table = Table("use", *(f"{count} workers" for count in WORKERS), "at the most: lock, scrapes, wake-ups")
    for name, use in USES.items():
        found = limits(WORKERS, constants_of(measured), use)
        last = found[-1][1]
        busiest = f"{last.lock_busy:.0%}, {last.scrape_busy:.0%}, {last.wake_share:.0%}"
        table.add_row(name, *(f"{scale:.1f}" for _, _, scale in found), busiest)
    return table
