"""Batch figures are derived from two scrapes of `/metrics`."""

from __future__ import annotations

import pytest

from service.cli.bench.load.service_metrics import batches_between, parse

BEFORE = """\
# HELP unroll_batch_size Inputs in one run.
# TYPE unroll_batch_size histogram
unroll_batch_size_bucket{le="1.0",model="a"} 9.0
unroll_batch_size_count{model="a"} 10.0
unroll_batch_size_sum{model="a"} 40.0
unroll_computed_tokens_total{model="a"} 100.0
unroll_padded_tokens_total{model="a"} 50.0
unroll_ready 1.0
"""
AFTER = """\
unroll_batch_size_count{model="a"} 12.0
unroll_batch_size_sum{model="a"} 72.0
unroll_computed_tokens_total{model="a"} 250.0
unroll_computed_tokens_total{model="b"} 50.0
unroll_padded_tokens_total{model="a"} 60.0
"""


def test_only_what_happened_in_between_counts() -> None:
    found = batches_between(parse(BEFORE), parse(AFTER))
    assert found == {"mean_rows": 16.0, "padded_share": pytest.approx(0.05)}


def test_nothing_is_claimed_where_nothing_ran() -> None:
    assert batches_between(parse(BEFORE), parse(BEFORE)) == {}
    assert batches_between({}, {}) == {}
