"""Batch figures of the service, from two scrapes of `/metrics`."""

from __future__ import annotations

import asyncio
import re
import time

from tests.load.client.connection import Connection, connect
from tests.load.client.tally import Reply

_SAMPLE = re.compile(r"^(?P<name>[a-z_]+?)_(?P<part>sum|count|total)(?:\{[^}]*\})? (?P<value>\S+)$", re.MULTILINE)


async def metrics_at(port: int, when_s: float) -> dict[str, float]:
    """Return sums, counts and totals of a scrape over all labels, and its time on `time.perf_counter()`'s clock."""
    page: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

    def lost(_: Connection, what: str) -> None:
        if not page.done():
            page.set_exception(OSError(what))

    connection = await connect(port, lambda _, reply: page.set_result(reply), lost)
    await asyncio.sleep(max(0.0, when_s - time.perf_counter()))
    connection.ask(f"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode(), 0, when_s)
    try:
        return parse((await page).body.decode("utf-8"))
    finally:
        connection.close()


def parse(page: str) -> dict[str, float]:
    """`name_sum`, `name_count` and `name_total` of each metric in Prometheus' text format."""
    added: dict[str, float] = {}
    for sample in _SAMPLE.finditer(page):
        key = f"{sample['name']}_{sample['part']}"
        added[key] = added.get(key, 0.0) + float(sample["value"])
    return added


def batches_between(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """Return `mean_rows` of a run or step, and `padded_share` of computed tokens; without data a figure is omitted."""

    def grown(name: str) -> float:
        return after.get(name, 0.0) - before.get(name, 0.0)

    runs, computed = grown("unroll_batch_size_count"), grown("unroll_computed_tokens_total")
    rows = {"mean_rows": grown("unroll_batch_size_sum") / runs} if runs else {}
    padding = {"padded_share": grown("unroll_padded_tokens_total") / computed} if computed else {}
    return {**rows, **padding}
