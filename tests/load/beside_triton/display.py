"""The comparison with Triton as a table."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from tests.load.beside_triton.run import UNROLL, Row
from tests.load.measurement.scenario import number

_HEADINGS = ("server", "callers", "answers/s", "p50 ms", "p99 ms", "server CPU ms", "faults", "unroll / this (95 %)")


def triton_table(rows: Sequence[Row]) -> Table:
    """One line for each server and load; the last column is the throughput of the service by that of this server."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in (
        "server",
        "callers",
        "answers/s",
        "p50 ms",
        "p99 ms",
        "server CPU ms",
        "faults",
        "unroll / this (95 %)",
    ):
        table.add_column(heading, justify="left" if heading == "server" else "right", no_wrap=True)
    for row in rows:
        times = (number(row.rate), number(row.p50_ms), number(row.p99_ms), f"{row.server_ms:.2f}")
        faults = f"{row.wrong} wrong, {row.errors} errors" if row.wrong or row.errors else ""
        style = "bold" if row.target == UNROLL.name else ""
        ratio = row.ratio.shown() if row.ratio else ""
        table.add_row(row.target, str(row.connections), *times, faults, ratio, style=style)
    return table
