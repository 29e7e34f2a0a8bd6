"""The text of a scrape: what the client library would write, but only what has changed is written anew."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from pydantic_core import from_json, to_json

from service.observability.metrics import Metrics
from service.observability.scrape import exposition
from service.observability.scrape.exposition import Exposition
from service.observability.scrape.merged_metrics import MergedMetrics, Snapshot, snapshot_of

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"
FORMATS = ("", OPEN_METRICS, f"{OPEN_METRICS}; escaping=allow-utf-8", f"{OPEN_METRICS}; escaping=dots")
#: Its values differ from one look at them to the next.
PROCESS = ("process_", "python_gc", "unroll_cpu", "unroll_memory")


def measured() -> Metrics:
    """Metrics of two models: one was asked, with values and labels of all kinds, and one was not."""
    metrics = Metrics(CollectorRegistry())
    for model in ("asked", "unasked"):
        metrics.expect_requests(model, "t")
        metrics.request_duration.labels(model, "t")
        metrics.deadline_misses.labels(model, "queue")
        metrics.watch_queue(model, lambda: 3, lambda: 1e-7)
    metrics.request_duration.labels("asked", "t").observe(0.01, {"trace_id": "a"})
    metrics.stage_duration.labels("asked", "queue").observe(70.0)
    metrics.computed_tokens.labels("asked").inc(12_345_678)
    metrics.stream_duration.labels("websocket").observe(3.0)
    metrics.label_counts("asked")['a "quoted" \\ label\n'] += 1
    metrics.bundle_info.labels("asked", "1", "t", "d").set(float("nan"))
    return metrics


def lines(text: bytes) -> list[str]:
    return sorted(line for line in text.decode().splitlines() if not line.startswith(PROCESS))


@pytest.mark.parametrize("accept", FORMATS)
def test_the_lines_are_those_of_the_client_library(accept: str) -> None:
    """In every format, at the first scrape and at later ones, before and after values have changed."""
    metrics, written = measured(), Exposition()
    for _ in range(3):
        encode, media_type = choose_encoder(accept)
        text, told = written.write(metrics.registry, accept)
        assert (lines(text), told) == (lines(encode(metrics.registry)), media_type)
        assert text.endswith(b"# EOF\n") == bool(accept)
        metrics.request_duration.labels("asked", "t").observe(0.02)
        metrics.requests.labels("asked", "t", "ok").inc()


def test_a_scraper_reads_each_family_once_and_its_exemplars() -> None:
    text, _ = Exposition().write(measured().registry, OPEN_METRICS)
    families = {family.name: family for family in text_string_to_metric_families(text.decode())}
    buckets = families["unroll_request_duration_seconds"].samples
    assert [sample.exemplar.labels for sample in buckets if sample.exemplar] == [{"trace_id": "a"}]


def test_a_model_that_nobody_asked_has_counters_and_no_buckets() -> None:
    """rate() sees the first increase of counters that are at 0; buckets appear together with their count."""
    text, _ = Exposition().write(measured().registry, "")
    of_model = [line for line in text.decode().splitlines() if 'model="unasked"' in line]
    assert 'unroll_requests_total{model="unasked",outcome="ok",task="t"} 0.0' in of_model
    assert not any("duration" in line for line in of_model)


def test_only_series_that_changed_are_written_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics, written, number = measured(), Exposition(), count()
    write = exposition._histogram_text
    monkeypatch.setattr(exposition, "_histogram_text", lambda *series: (next(number), write(*series))[1])
    written.write(metrics.registry, "")
    written.write(metrics.registry, "")
    metrics.stage_duration.labels("asked", "queue").observe(1.0)
    written.write(metrics.registry, "")
    assert next(number) == 3, "two histograms, and one of them again"


def test_merged_metrics_are_written_alike() -> None:
    """Of two workers, as they come out of their files; and a third that has other models."""
    other = Metrics(CollectorRegistry())
    other.request_duration.labels("other", "t").observe(0.5)
    data = [to_json(snapshot_of(one.registry), inf_nan_mode="constants") for one in (measured(), measured(), other)]
    merged = MergedMetrics([Snapshot(*from_json(one)) for one in data])
    for accept in FORMATS:
        assert lines(Exposition().write(merged, accept)[0]) == lines(choose_encoder(accept)[0](merged))
    found = list(_values(merged, "unroll_request_duration_seconds_count"))
    assert found == [2.0, 1.0]


def test_a_snapshot_has_no_sample_for_each_bucket() -> None:
    """It is written every few seconds, for every model."""
    metrics = measured()
    before = len(to_json(snapshot_of(metrics.registry), inf_nan_mode="constants"))
    for number in range(100):
        metrics.request_duration.labels(f"m{number}", "t").observe(0.01)
    added = len(to_json(snapshot_of(metrics.registry), inf_nan_mode="constants")) - before
    assert added < 100 * 100, "bytes of a histogram of 19 lines"


def _values(metrics: Collector, name: str) -> Iterator[float]:
    return (sample.value for family in metrics.collect() for sample in family.samples if sample.name == name)
