"""A traced server and an OTLP collector: the exported spans describe each request."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.observability.json_logs import request_fields_var
from tests.live_server import Answer, live_server, post
from tests.observability.collector import VARIABLE, Collector, attributes, collecting

TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE_ID}-{SPAN_ID}-01"
WHOLE = ["preprocess", "queue", "run", "postprocess"]

#: Path, body, and the stages of the request.
REQUESTS = {
    "tag": ("/predict", {"model": "tiny-tagger", "inputs": ["The cat sat.", "hello"]}, WHOLE),
    "translate": ("/predict", {"model": "tiny-translator", "inputs": "the cat sat"}, WHOLE),
    "generate": ("/generate", {"inputs": "a", "parameters": {"max_new_tokens": 4}}, WHOLE[:3]),
    "stream": ("/generate_stream", {"inputs": "a", "parameters": {"max_new_tokens": 4}}, WHOLE[:3]),
}


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collecting() as started:
        monkeypatch.setenv(VARIABLE, started.url)
        yield started


def ask(models: Path, path: str, body: Any, **headers: str) -> tuple[Answer, str]:
    """Send one request to a server and stop it, which exports the spans; return answer and OpenMetrics output."""
    with live_server(models) as server, server.connect() as connection:
        answer = connection.ask(post(path, body, **headers))
        exposition = connection.ask(b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: application/openmetrics-text\r\n\r\n")
    return answer, exposition.body.decode()


@pytest.fixture
def log_fields(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """Return the request ID and trace fields of each access log line."""
    lines: list[dict[str, str]] = []
    monkeypatch.setattr(
        "service.api.request_scope.log_request", lambda *_: lines.append(dict(request_fields_var.get()))
    )
    return lines


@pytest.mark.parametrize("kind", REQUESTS)
def test_a_request_is_a_span_below_its_callers_with_a_child_for_each_stage(
    tiny_models: Path, collector: Collector, kind: str
) -> None:
    """A request is a child span of the caller's, has one child per stage in sequence, and records no content."""
    path, body, stages = REQUESTS[kind]
    answer, _ = ask(tiny_models, path, body, traceparent=TRACEPARENT, x_request_id="mine-1")
    assert answer.status == 200
    whole = collector.named(f"POST {path}")
    children = sorted(
        (span for span in collector.spans if span is not whole), key=lambda span: span.start_time_unix_nano
    )
    assert (whole.trace_id.hex(), whole.parent_span_id.hex()) == (TRACE_ID, SPAN_ID)
    assert [span.name for span in children] == stages
    edges = [whole.start_time_unix_nano]
    for child in children:
        assert (child.trace_id.hex(), child.parent_span_id) == (TRACE_ID, whole.span_id)
        edges += [child.start_time_unix_nano, child.end_time_unix_nano]
    assert edges == sorted(edges)
    assert edges[-1] <= whole.end_time_unix_nano
    assert attributes(whole).items() >= {"unroll.request_id": "mine-1", "http.response.status_code": 200}.items()
    assert collector.resources[0]["service.name"] == "unroll"


def test_a_span_says_how_large_a_batch_was_and_a_stream_when_its_first_token_came(
    tiny_models: Path, collector: Collector
) -> None:
    path, body, _ = REQUESTS["stream"]
    ask(tiny_models, path, body)
    run = collector.named("run")
    (event,) = run.events
    assert event.name == "first_token"
    assert run.start_time_unix_nano <= event.time_unix_nano <= run.end_time_unix_nano
    assert attributes(run)["unroll.tokens"] == 4
    ask(tiny_models, *REQUESTS["tag"][:2])
    assert attributes(collector.named("POST /predict"))["unroll.batch_size"] in (1, 2)


def test_a_refusal_has_no_stages_and_says_why(tiny_models: Path, collector: Collector) -> None:
    """A rejected request has no stage spans, gives the error type, and is not marked as failed."""
    ask(tiny_models, "/predict", {"model": "tiny-tagger", "inputs": ""})
    (span,) = collector.spans
    told = attributes(span)
    assert (told["error.type"], told["http.response.status_code"], span.status.code) == ("validation", 422, 0)


def test_health_checks_and_scrapes_are_not_traced(tiny_models: Path, collector: Collector) -> None:
    ask(tiny_models, "/health/live", {})
    assert collector.bodies == []


def test_log_line_exemplar_and_span_name_the_same_trace(
    tiny_models: Path, collector: Collector, log_fields: list[dict[str, str]]
) -> None:
    """Log line, exemplar and span have the same trace ID, also when the service starts the trace."""
    _, exposition = ask(tiny_models, *REQUESTS["stream"][:2])
    whole = collector.named("POST /generate_stream")
    trace_id = whole.trace_id.hex()
    assert log_fields[0]["trace_id"] == trace_id
    assert log_fields[0]["span_id"] == whole.span_id.hex()
    for name in ("unroll_request_duration_seconds_bucket", "unroll_time_to_first_token_seconds_bucket"):
        told = [line for line in exposition.splitlines() if line.startswith(name) and "# {" in line]
        assert len(told) == 1
        assert f'# {{trace_id="{trace_id}"}}' in told[0]


@pytest.mark.parametrize(("flags", "num_exemplars"), [("01", 1), ("00", 0)])
def test_without_tracing_a_callers_sampled_trace_is_in_log_and_exemplar(
    tiny_models: Path, log_fields: list[dict[str, str]], flags: str, num_exemplars: int
) -> None:
    """Without tracing, the caller's trace ID is in the log, and in the exemplar only if the caller sampled it."""
    path, body, _ = REQUESTS["tag"]
    _, exposition = ask(tiny_models, path, body, traceparent=f"00-{TRACE_ID}-{SPAN_ID}-{flags}")
    assert log_fields[0]["trace_id"] == TRACE_ID
    assert "span_id" not in log_fields[0]
    assert exposition.count(f'# {{trace_id="{TRACE_ID}"}}') == num_exemplars


def test_no_request_waits_for_a_collector_that_is_broken(tiny_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every request is answered and the server stops, whatever status the collector returns."""
    monkeypatch.setattr("service.observability.otel_tracer._CLOSING_S", 0.05)
    with collecting(status=503) as collector:
        monkeypatch.setenv(VARIABLE, collector.url)
        with live_server(tiny_models) as server, server.connect() as connection:
            answers = [connection.ask(post("/predict", REQUESTS["tag"][1])).status for _ in range(20)]
    assert answers == [200] * 20
