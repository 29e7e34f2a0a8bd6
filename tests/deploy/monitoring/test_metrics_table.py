"""deploy/metrics.md documents every metric, and no others."""

from __future__ import annotations

import re
from pathlib import Path

from deploy.grafana.boards import metrics_table
from deploy.grafana.boards.__main__ import BOARDS
from tests.deploy.monitoring.exposed_metrics import Exposed, exposed_metrics

DEPLOY = Path(__file__).parents[3] / "deploy"
ROW = re.compile(
    r"^\| `(?P<name>\w+)` \| (?P<type>\w+) \|(?P<labels>[^|]*)\|(?P<unit>[^|]*)\|(?P<text>[^|]*)\|(?P<uses>.*)\|$"
)

#: Not exported where the kernel reports no CPU quota, but documented.
DEPENDS_ON_THE_KERNEL = {"unroll_cpu_throttled_seconds_total", "unroll_memory_limit_bytes"}


def rows() -> list[re.Match[str]]:
    lines = (DEPLOY / "metrics.md").read_text("utf-8").splitlines()
    return [row for line in lines if (row := ROW.match(line))]


def test_every_metric_has_one_row_and_every_row_a_metric() -> None:
    """Every metric has exactly one row in the table, and every row a metric."""
    names = [row["name"] for row in rows()]
    assert len(names) == len(set(names))
    assert set(names) | DEPENDS_ON_THE_KERNEL == exposed_metrics().keys() | DEPENDS_ON_THE_KERNEL


def test_types_and_labels_are_those_of_the_code() -> None:
    """Types and labels in the table equal those declared in the code."""
    table = {
        row["name"]: Exposed(row["type"], frozenset(filter(None, map(str.strip, row["labels"].split(",")))))
        for row in rows()
    }
    exposed = exposed_metrics()
    # python_info is declared by the client library, which reports an Info metric as a gauge.
    assert {name: metric for name, metric in table.items() if name in exposed} == exposed


def test_every_row_has_a_unit_and_a_meaning() -> None:
    """Every row has a unit and a meaning."""
    assert rows()
    assert not [row["name"] for row in rows() if not row["unit"].strip() or not row["text"].strip()]


def test_the_uses_are_found_and_written() -> None:
    """The last column is generated from the dashboards and rules that use the metric."""
    rules = [DEPLOY / "prometheus" / "rules" / "alerts.yml"]
    line = "| `unroll_ready` | gauge | | 0 or 1 | whether | something old |\n"
    assert metrics_table.filled_in(line, BOARDS, rules) == (
        "| `unroll_ready` | gauge | | 0 or 1 | whether | Overview: Ready; alert UnrollNotReady |\n"
    )


def test_histograms_are_found_by_the_name_they_are_declared_with() -> None:
    """The buckets, sum and count of a histogram are attributed to its one row in the table."""
    expression = "rate(unroll_batch_size_sum[5m]) / rate(unroll_batch_size_count[5m]) > unroll_ready"
    assert metrics_table.names_in(expression) == {"unroll_batch_size", "unroll_ready"}
