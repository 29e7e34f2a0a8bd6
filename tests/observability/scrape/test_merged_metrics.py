"""The metrics of several processes as one."""

from __future__ import annotations

from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from service.observability.metrics import Metrics
from service.observability.scrape.merged_metrics import GAUGE_RULES, MergedMetrics, lasting, snapshot_of


def measured(num_requests: int, ready: float) -> Metrics:
    """The metrics of a process that has answered so many requests."""
    metrics = Metrics(CollectorRegistry())
    metrics.ready.set(ready)
    metrics.open_requests.set(num_requests)
    metrics.start_duration.set(num_requests)
    for number in range(num_requests):
        metrics.requests.labels("m", "t", "ok").inc()
        metrics.request_duration.labels("m", "t").observe(0.01, {"trace_id": f"{num_requests}-{number}"})
    return metrics


def values(merged: MergedMetrics) -> dict[str, float]:
    """Series without labels but `le`, as OpenMetrics writes them and a scraper reads them."""
    text = generate_latest(merged).decode()  # type: ignore[no-untyped-call]
    return {
        sample.name + sample.labels.get("le", ""): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_counters_and_histograms_are_added_and_gauges_follow_their_rules() -> None:
    one, two = measured(3, 1.0), measured(5, 0.0)
    found = values(MergedMetrics([snapshot_of(one.registry), snapshot_of(two.registry)]))
    assert found["unroll_requests_total"] == 8
    assert found["unroll_request_duration_seconds_count"] == 8
    assert found["unroll_request_duration_seconds_bucket0.005"] == 0
    assert found["unroll_request_duration_seconds_bucket0.01"] == 8
    assert found["unroll_open_requests"] == 8
    assert found["unroll_start_seconds"] == 5
    assert found["unroll_ready"] == 1  # of the one that is asked


def test_a_process_that_has_ended_leaves_its_counts_and_no_gauges() -> None:
    one, ended = measured(3, 1.0), lasting(snapshot_of(measured(5, 1.0).registry))
    found = values(MergedMetrics([snapshot_of(one.registry), ended]))
    assert found["unroll_requests_total"] == 8
    assert found["unroll_open_requests"] == 3


def test_every_gauge_with_a_rule_is_one_of_ours() -> None:
    """A rule for a gauge that was renamed would be without effect."""
    of_kernel = {"process_max_fds", "process_start_time_seconds", "unroll_memory_limit_bytes"}
    of_others = of_kernel | {name for name in GAUGE_RULES if name.startswith("unroll_gpu_")}
    of_others |= {"unroll_last_key_reload_successful", "unroll_api_keys", "unroll_lane_run_age_seconds"}
    of_others |= {"unroll_sessions", "unroll_session_bytes"}
    declared = {family.name for family in Metrics(CollectorRegistry()).registry.collect()}
    assert set(GAUGE_RULES) - of_others <= declared
