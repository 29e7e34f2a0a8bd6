"""Batch figures of the service, from two scrapes of `/metrics`."""

from __future__ import annotations

import re

from service.cli.bench.load.address import Address
from service.cli.bench.load.connection import fetch
from service.cli.bench.load.tally import OK
from service.errors import UnrollError

_SAMPLE = re.compile(r"^(?P<name>[a-z_]+?)_(?P<part>sum|count|total)(?:\{[^}]*\})? (?P<value>\S+)$", re.MULTILINE)


async def scrape(address: Address) -> dict[str, float]:
    """Sums, counts and totals of `/metrics` over all labels; empty if the server shows none."""
    try:
        reply = await fetch(address, address.get("/metrics"), limit_s=10.0)
    except UnrollError:
        return {}
    return parse(reply.body.decode("utf-8", "replace")) if reply.status == OK else {}


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
