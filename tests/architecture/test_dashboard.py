"""Dashboards ask only for metrics that the service declares."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client import CollectorRegistry

from service.metrics import Metrics

ROOT = Path(__file__).parents[2]
SUFFIXES = ("_total", "_bucket", "_sum", "_count")


def declared_names() -> set[str]:
    """Every series name that `/metrics` can show, without labels."""
    metrics = Metrics(CollectorRegistry())
    names = {family.name for family in metrics.registry.collect()}
    return names | {name + suffix for name in names for suffix in SUFFIXES}


def test_the_dashboard_asks_for_metrics_that_exist() -> None:
    """A renamed metric would otherwise leave an empty panel that nobody notices."""
    text = (ROOT / "deploy" / "grafana" / "dashboards" / "unroll.json").read_text(encoding="utf-8")
    asked = set(re.findall(r"\bunroll_[a-z_]+", text))
    assert len(asked) > 5
    assert asked <= declared_names()
