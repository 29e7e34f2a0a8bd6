"""Checks of monitoring: scraping, reloads, dashboards, exemplars, rules and alerts."""

from __future__ import annotations

import time

from deploy.verify.dashboard_queries import Query, read_dashboards
from deploy.verify.prometheus_api import alerts, has_data, rules, targets, traces_beside, value_of
from deploy.verify.stack import ROOT, Stack
from deploy.verify.steps import CheckFailed, wait_for
from deploy.verify.traffic import TRACE_ID, expect, steady

DASHBOARDS = ROOT / "deploy" / "grafana" / "dashboards"
DOWN_ALERT = "UnrollDown"
_DATA_LIMIT_S = 150.0
#: Long enough to include the restart and the reload of earlier steps.
_LOOK_BACK_S = 60.0
_SHOWN_QUERIES = 12


def target_up(stack: Stack) -> str:
    """Prometheus scrapes every target."""

    def all_up() -> dict[str, str] | None:
        health = targets(stack.prometheus)
        return health if health and set(health.values()) == {"up"} else None

    try:
        return ", ".join(sorted(wait_for(all_up, 60, "not every target was up")))
    except CheckFailed as error:
        raise CheckFailed(f"{error}: {targets(stack.prometheus)}") from error


def rules_evaluate(stack: Stack) -> str:
    """Every rule has been evaluated, and none with an error."""

    def all_evaluated() -> list[str] | None:
        health = [(rule["name"], rule["health"], rule.get("lastError", "")) for rule in rules(stack.prometheus)]
        broken = [f"{name}: {error}" for name, state, error in health if state == "err"]
        if broken:
            raise CheckFailed("; ".join(broken))
        return [name for name, _, _ in health] if health and all(state == "ok" for _, state, _ in health) else None

    return f"{len(wait_for(all_evaluated, 90, 'not every rule was evaluated', pause_s=1))} rules"


def reload(stack: Stack) -> str:
    """On SIGHUP the service reloads its bundles and counts the reload."""
    before = _reloads(stack)
    stack.compose("kill", "--signal", "SIGHUP", "service")
    wait_for(lambda: _reloads(stack) > before or None, 30, "unroll_reloads_total did not rise")
    if stack.service.get("/health/ready").status != 200:
        raise CheckFailed("the service is not ready after the reload")
    return "SIGHUP"


def dashboards(stack: Stack) -> str:
    """Every query of every dashboard returns data under traffic of all kinds."""
    has_gpu = value_of(stack.prometheus, "unroll_gpu_memory_bytes") is not None
    ours = [query for query in read_dashboards(DASHBOARDS) if not (query.needs_alert or query.needs_absent)]
    queries = [query for query in ours if has_gpu or not query.needs_gpu]
    if not queries:
        raise CheckFailed(f"there are no queries in {DASHBOARDS.relative_to(ROOT)}")
    began_s = time.monotonic()
    with steady(stack.service) as faults:
        empty = _without_data(stack, queries, began_s)
    if faults:
        raise CheckFailed(f"a request went wrong: {faults[0]}")
    if empty:
        shown = "".join(f"\n    {query}" for query in empty[:_SHOWN_QUERIES])
        raise CheckFailed(f"{len(empty)} of {len(queries)} queries gave no data:{shown}")
    names = {query.dashboard for query in queries}
    return f"{len(queries)} queries of {len(names)} dashboards, all with data" + ("" if has_gpu else "; GPU left out")


def exemplars(stack: Stack) -> str:
    """Prometheus stores the trace id of a request as an exemplar of its latency."""
    metric = "unroll_request_duration_seconds_bucket"
    wait_for(
        lambda: TRACE_ID in traces_beside(stack.prometheus, metric, 600) or None,
        15,
        f"no exemplar of {metric} had the trace of our requests",
    )
    return f"trace {TRACE_ID[:8]}… beside {metric}"


def alert_arrives(stack: Stack) -> str:
    """An alert reaches Alertmanager, and the dashboards, after the service has stopped."""
    began_s = time.monotonic()
    wait_for(
        lambda: DOWN_ALERT in alerts(stack.alertmanager) or None, 180, f"{DOWN_ALERT} did not reach Alertmanager", 1
    )
    arrived_s = time.monotonic() - began_s
    shown = [query for query in read_dashboards(DASHBOARDS) if query.needs_alert]
    empty = _without_data(stack, shown, time.monotonic())
    if empty or not shown:
        raise CheckFailed(f"no dashboard lists the alert: {', '.join(map(str, empty))}")
    return f"{DOWN_ALERT} after {arrived_s:.0f} s, and in {len(shown)} panel"


def _without_data(stack: Stack, queries: list[Query], began_s: float) -> list[Query]:
    """Queries without data at the deadline; usually all have data long before."""
    empty = queries
    while empty and time.monotonic() - began_s < _DATA_LIMIT_S:
        time.sleep(2)
        back_s = time.monotonic() - began_s + _LOOK_BACK_S
        empty = [query for query in empty if not has_data(stack.prometheus, query.expression, back_s)]
    return empty


def _reloads(stack: Stack) -> float:
    """Number of reloads of all outcomes, read from the service."""
    lines = expect(stack.service.get("/metrics"), 200).body.decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("unroll_reloads_total"))
