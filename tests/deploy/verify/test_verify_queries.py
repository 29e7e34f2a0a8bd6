"""`make verify-deploy` finds every query of a dashboard and converts it to one that Prometheus can run."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.verify.check_monitoring import DASHBOARDS
from deploy.verify.dashboard_queries import queries_of, read_dashboards, without_variables
from deploy.verify.engine import version_of


def panel(title: str, *expressions: str) -> dict[str, Any]:
    return {"type": "timeseries", "title": title, "targets": [{"expr": expression} for expression in expressions]}


def test_panels_are_found_below_open_and_folded_rows() -> None:
    board = {
        "title": "Board",
        "panels": [
            panel("first", "a", "b"),
            {"type": "row", "title": "Open", "panels": []},
            panel("below an open row", "c"),
            {"type": "row", "title": "Folded", "panels": [panel("in a folded row", "d")]},
        ],
    }
    assert [query.expression for query in queries_of(board)] == ["a", "b", "c", "d"]


def test_only_what_is_below_a_gpu_row_may_be_empty_without_a_gpu() -> None:
    board = {
        "panels": [
            panel("before", "a"),
            {"type": "row", "title": "GPU", "panels": [panel("folded", "b")]},
            panel("open", "c"),
            {"type": "row", "title": "Memory", "panels": []},
            panel("after", "d"),
        ]
    }
    assert [query.expression for query in queries_of(board) if query.needs_gpu] == ["b", "c"]


def test_the_list_of_alerts_has_data_only_while_one_fires() -> None:
    """Known by the name of its query; all other queries must have data under traffic."""
    alerts = panel("Firing alerts", "ALERTS")
    alerts["targets"][0]["refId"] = "A needs a firing alert"
    failures = panel("Failed requests", "a")
    failures["targets"][0]["refId"] = "B needs failures"
    assert [query.needs_alert for query in queries_of({"panels": [alerts, failures]})] == [True, False]


def test_what_the_tested_stack_does_not_have_needs_no_data() -> None:
    """Known by the name of the query: without API keys, for example, no request is counted by key."""
    board = panel("Requests by API key", "a", "b")
    board["targets"][0]["refId"] = "A needs API keys"
    board["targets"][1]["refId"] = "B needs a reload"
    assert [query.needs_absent for query in queries_of({"panels": [board]})] == [True, False]


def test_exactly_the_list_of_alerts_of_our_dashboards_needs_one() -> None:
    waiting = [query for query in read_dashboards(DASHBOARDS) if query.needs_alert]
    assert [(query.dashboard, query.panel) for query in waiting] == [("Unroll / Overview", "Firing alerts")]


def test_annotations_and_variables_are_queries_too() -> None:
    board = {
        "annotations": {"list": [{"name": "reloads", "expr": "changes(a[1m]) > 0"}, {"name": "built in"}]},
        "templating": {
            "list": [
                {"type": "query", "name": "model", "query": {"query": "label_values(b, model)"}},
                {"type": "datasource", "name": "source", "query": "prometheus"},
            ]
        },
    }
    assert [query.expression for query in queries_of(board)] == ["changes(a[1m]) > 0", "group by (model) (b)"]


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ('rate(a{model=~"$model"}[$__rate_interval])', 'rate(a{model=~".+"}[30s])'),
        ('a{model="${model}", job="x"}', 'a{model=~".+", job="x"}'),
        ('a{model=~"${model:regex}"}', 'a{model=~".+"}'),
        ('a{instance!="[[instance]]"}[$__range]', 'a{instance!=".+"}[5m]'),
        ("increase(a[${__interval}])", "increase(a[10s])"),
        ("rate(a[$__rate_interval] offset 1d)", "rate(a[30s] offset 10s)"),
    ],
)
def test_variables_stand_for_anything_and_intervals_for_a_time(written: str, sent: str) -> None:
    assert without_variables(written) == sent


@pytest.mark.parametrize(
    ("text", "version"), [("v2.26.1-4", (2, 26, 1)), ("2.40.3+ds1", (2, 40, 3)), ("26.1.5+dfsg1", (26, 1, 5))]
)
def test_versions_are_compared_as_numbers(text: str, version: tuple[int, ...]) -> None:
    assert version_of(text) == version
