"""Recording and alerting rules query existing metrics, and every alert has unit tests and a runbook."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.grafana.boards.metrics_table import METRIC_NAME
from deploy.grafana.boards.queries import FAILURES, PREDICT_TASKS
from deploy.grafana.boards.runbooks import UID_PREFIX
from service.api.error_table import ERRORS
from service.observability.metrics import DURATION_BUCKETS_S
from service.server.app import PROTOCOLS
from service.tasks import catalogue
from tests.deploy.monitoring.exposed_metrics import series_names
from tests.programs import find_program

ROOT = Path(__file__).parents[3]
RULES = ROOT / "deploy" / "prometheus" / "rules"
FILES = [RULES / "objectives.yml", RULES / "alerts.yml"]
CASES = sorted((RULES / "tests").glob("*.yml"))


def rules_of(path: Path) -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(path.read_text("utf-8"))["groups"] for rule in group["rules"]]


ALERTS = {rule["alert"]: rule for rule in rules_of(RULES / "alerts.yml")}


def expected_alerts(name: str) -> list[list[dict[str, Any]]]:
    """Yield each test case's expected firing alerts per alert and evaluation time."""
    tests = [test for path in CASES for test in yaml.safe_load(path.read_text("utf-8"))["tests"]]
    checks = [check for test in tests for check in test["alert_rule_test"]]
    return [check["exp_alerts"] for check in checks if check["alertname"] == name]


def faults_by_promtool(*arguments: str | Path) -> str:
    """Run promtool on files; return its output if it found a fault, else ""."""
    command = [find_program("promtool"), *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    return f"exit {done.returncode}: {done.stdout}{done.stderr}" if done.returncode else ""


def test_prometheus_accepts_the_rules() -> None:
    """`promtool check rules` accepts the syntax and finds no lint errors."""
    assert faults_by_promtool("check", "rules", *FILES) == ""


@pytest.mark.parametrize("cases", CASES, ids=lambda path: path.stem)
def test_alerts_fire_and_stay_quiet_as_the_cases_say(cases: Path) -> None:
    """`promtool test rules` passes for every test case."""
    assert faults_by_promtool("test", "rules", cases) == ""


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_is_tried_both_ways(name: str) -> None:
    """Every alert has a test case in which it fires, and one in which it does not."""
    expected = expected_alerts(name)
    assert any(expected)
    assert not all(expected)


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_what_to_do(name: str) -> None:
    """Every alert has a severity, annotations and a link to its runbook."""
    alert = ALERTS[name]
    assert alert["labels"]["severity"] in ("page", "ticket")
    assert "{{ $" in alert["annotations"]["description"]
    assert alert["annotations"]["summary"]
    assert alert["annotations"]["runbook_url"].endswith(f"/d/{UID_PREFIX}{alert['labels']['runbook']}")
    runbook = (ROOT / "deploy" / "runbooks" / f"{alert['labels']['runbook']}.md").read_text("utf-8")
    assert f"`{name}` ({alert['labels']['severity']})" in runbook
    assert all(
        f"**{part}" in runbook for part in ("What users see", "Confirm", "Likely causes", "What to do", "Over when")
    )


def test_every_runbook_belongs_to_an_alert() -> None:
    """Every runbook belongs to an alert."""
    named = {ALERTS[name]["labels"]["runbook"] for name in ALERTS}
    assert {path.stem for path in (ROOT / "deploy" / "runbooks").glob("*.md")} - {"README"} == named


def test_rules_and_runbooks_ask_only_for_what_exists() -> None:
    """Rules and runbooks query only metrics that exist."""
    runbooks = [path.read_text("utf-8") for path in (ROOT / "deploy" / "runbooks").glob("*.md")]
    texts = [*runbooks, *(rule["expr"] for path in FILES for rule in rules_of(path))]
    assert len(runbooks) > 10
    recorded = {rule["record"] for rule in rules_of(RULES / "objectives.yml")}
    for text in texts:
        assert set(METRIC_NAME.findall(text)) <= series_names()
        assert set(re.findall(r"\bunroll:[\w:]+", text)) <= recorded


def test_the_objectives_limits_are_buckets() -> None:
    """Every latency objective is a bucket boundary, so that the share of fast requests can be computed."""
    limits = {float(limit) for path in FILES for limit in re.findall(r'le="([\d.]+)"', path.read_text("utf-8"))}
    assert limits == {0.1, 0.25}
    assert limits <= set(DURATION_BUCKETS_S)


def test_rules_and_boards_mean_the_same_failures_and_tasks() -> None:
    """Rules and dashboards use the same outcomes and tasks, all of which the service has."""
    text = (RULES / "objectives.yml").read_text("utf-8")
    outcomes = set(re.findall(r'outcome=~"([^"]+)"', text))
    assert outcomes == {FAILURES, f"ok|{FAILURES}"}
    rows = [*ERRORS.values(), *(row for protocol in PROTOCOLS for row in protocol.errors.rows.values())]
    assert set(FAILURES.split("|")) <= {error_type for _, error_type in rows}
    assert set(re.findall(r'task=~"([^"]+)"', text)) == {PREDICT_TASKS}
    assert PREDICT_TASKS.split("|") == list(catalogue.tasks_of_route("predict"))
