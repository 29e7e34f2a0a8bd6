"""Client of the HTTP APIs of Prometheus and Alertmanager."""

from __future__ import annotations

import math
import time
from typing import Any

from deploy.verify.http_client import HttpClient
from deploy.verify.steps import CheckFailed


def value_of(prometheus: HttpClient, expression: str) -> float | None:
    """The first value of an instant query; None if there is none."""
    found = _data(prometheus, "/api/v1/query", query=expression)["result"]
    return float(found[0]["value"][1]) if found else None


def has_data(prometheus: HttpClient, expression: str, back_s: float) -> bool:
    """Whether a range query over the last seconds returns data. Raises CheckFailed for an invalid query."""
    now_s = time.time()
    times = {"start": f"{now_s - back_s:.3f}", "end": f"{now_s:.3f}", "step": "5"}
    series = _data(prometheus, "/api/v1/query_range", query=expression, **times)["result"]
    return any(math.isfinite(float(value)) for one in series for _, value in one["values"])


def traces_beside(prometheus: HttpClient, metric: str, back_s: float) -> set[str]:
    """Trace ids of the exemplars of a histogram."""
    now_s = time.time()
    times = {"start": f"{now_s - back_s:.3f}", "end": f"{now_s:.3f}"}
    series = _data(prometheus, "/api/v1/query_exemplars", query=metric, **times)
    return {str(exemplar["labels"].get("trace_id")) for one in series for exemplar in one["exemplars"]}


def targets(prometheus: HttpClient) -> dict[str, str]:
    """Health of the targets by job: `up`, `down` or `unknown`, with the reason."""
    active = _data(prometheus, "/api/v1/targets", state="active")["activeTargets"]
    return {target["labels"]["job"]: " ".join((target["health"], target["lastError"])).strip() for target in active}


def rules(prometheus: HttpClient) -> list[dict[str, Any]]:
    """Every recording and alerting rule with its health."""
    groups = _data(prometheus, "/api/v1/rules")["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alerts(alertmanager: HttpClient) -> set[str]:
    """Names of the active alerts of Alertmanager."""
    answer = alertmanager.get("/api/v2/alerts")
    return {str(alert["labels"]["alertname"]) for alert in answer.json or ()}


def _data(prometheus: HttpClient, path: str, **query: str) -> Any:
    answer = prometheus.get(path, query)
    if answer.status != 200:
        raise CheckFailed(f"Prometheus refused {query.get('query', path)}: {answer}")
    return answer.json["data"]
