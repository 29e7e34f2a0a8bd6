"""The queries of prometheus-adapter return the values that the autoscaler's targets refer to."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.kubernetes.manifests import KUBERNETES, read
from tests.programs import find_program

#: One pod with two lanes, together busy for 1.5 s per second, and a maximum queue age of 0.2 s.
_SERIES = [
    ("unroll_lane_busy_seconds_total", "0+22.5x8"),
    ("unroll_lanes", "2+0x8"),
    ('unroll_queue_oldest_age_seconds{model="a"}', "0 0 0 0 0 0 0.2 0 0"),
    ('unroll_queue_oldest_age_seconds{model="b"}', "0+0x8"),
]
_PER_POD = {"unroll_lane_utilization": 0.75, "unroll_queue_oldest_age_seconds": 0.2}


def test_the_adapters_queries_give_what_the_autoscaler_is_told(tmp_path: Path) -> None:
    """The adapter's queries, with its template filled in for one pod, return the expected values in Prometheus."""
    promtool = find_program("promtool")
    where = 'namespace="unroll",pod="unroll-1"'
    series = [{"series": _with_labels(name, where), "values": values} for name, values in _SERIES]
    rules = read(KUBERNETES / "adapter" / "config.yaml")["rules"]
    samples = {rule["name"]["as"]: _filled_in(rule, where) for rule in rules}
    asked = [
        {
            "expr": f"round({expression}, 0.001)",
            "eval_time": "2m",
            "exp_samples": [{"labels": f"{{{where}}}", "value": _PER_POD[name]}],
        }
        for name, expression in samples.items()
    ]
    tests = {"rule_files": [], "evaluation_interval": "15s"}
    file = tmp_path / "adapter.yml"
    file.write_text(
        yaml.safe_dump(tests | {"tests": [{"interval": "15s", "input_series": series, "promql_expr_test": asked}]}),
        encoding="utf-8",
    )
    done = subprocess.run(
        [promtool, "test", "rules", str(file)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _with_labels(series: str, labels: str) -> str:
    name, _, own = series.partition("{")
    return f"{name}{{{labels}{',' + own if own else '}'}"


def _filled_in(rule: dict[str, Any], where: str) -> str:
    blanks = {
        "<<.Series>>": rule["seriesQuery"].split("{")[0],
        "<<.LabelMatchers>>": where,
        "<<.GroupBy>>": "namespace,pod",
    }
    query = str(rule["metricsQuery"])
    for blank, value in blanks.items():
        query = query.replace(blank, value)
    assert not re.search("<<|>>", query)
    return query
