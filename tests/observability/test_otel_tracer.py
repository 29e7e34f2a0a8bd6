"""Spans are created from plain values, in the caller's trace or a new one, subject to the sampler."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from service.observability.otel_tracer import OtelTracer, RateLimitedHandler
from service.observability.spans import Stage, TracedRequest
from service.observability.trace_context import Trace
from tests.conftest import PATIENCE_S

CALLER = Trace("4bf92f3577b34da6a3ce929d0e0e4736", True, "00f067aa0ba902b7", state="vendor=value")


def traced(trace: Trace, is_fault: bool = False, stages: tuple[Stage, ...] = ()) -> TracedRequest:
    return TracedRequest(trace, "POST /predict", 10.0, 10.5, {"http.route": "/predict"}, is_fault, stages)


def spans_of(caller: Trace | None, is_fault: bool = False, stages: tuple[Stage, ...] = ()) -> list[ReadableSpan]:
    """Return the spans that one request exports."""
    exporter = InMemorySpanExporter()
    tracer = OtelTracer(exporter, "1.2.3")
    tracer.finish(traced(tracer.begin(caller, "/predict"), is_fault, stages))
    tracer.close()
    return list(exporter.get_finished_spans())


def test_a_span_goes_on_with_the_trace_of_its_caller() -> None:
    (span,) = spans_of(CALLER)
    assert f"{span.context.trace_id:032x}" == CALLER.trace_id
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == CALLER.parent_id
    assert span.parent.is_remote
    assert dict(span.context.trace_state) == {"vendor": "value"}
    assert (span.name, span.kind, dict(span.attributes or {})) == (
        "POST /predict",
        SpanKind.SERVER,
        {"http.route": "/predict"},
    )


def test_without_a_caller_a_trace_begins() -> None:
    """Without a parent context, each request starts a trace of its own."""
    (first,), (second,) = spans_of(None), spans_of(None)
    assert first.parent is None
    assert first.context.trace_id != second.context.trace_id


def test_stages_are_children_with_their_own_times_and_events() -> None:
    run = Stage("run", 10.1, 10.4, {"unroll.tokens": 3}, {"first_token": 10.2})
    child, whole = spans_of(CALLER, stages=(run,))
    assert child.parent == whole.context
    assert child.context.trace_id == whole.context.trace_id
    assert whole.start_time is not None
    assert child.start_time is not None
    assert child.end_time is not None
    assert child.start_time - whole.start_time == pytest.approx(100e6, abs=1000)
    assert child.end_time - child.start_time == pytest.approx(300e6, abs=1000)
    assert [event.name for event in child.events] == ["first_token"]
    assert child.events[0].timestamp - child.start_time == pytest.approx(100e6, abs=1000)
    assert dict(child.attributes or {}) == {"unroll.tokens": 3}


def test_times_are_those_of_the_clock_on_the_wall() -> None:
    exporter = InMemorySpanExporter()
    tracer = OtelTracer(exporter, "1")
    now_s = time.monotonic()
    trace = tracer.begin(None, "/predict")
    before_ns = time.time_ns()
    tracer.finish(TracedRequest(trace, "x", now_s - 1.0, now_s, {}, False, ()))
    tracer.close()
    (span,) = exporter.get_finished_spans()
    assert span.end_time == pytest.approx(before_ns, abs=60e9)
    assert span.end_time - span.start_time == pytest.approx(1e9, abs=1000)


def test_a_fault_of_ours_marks_the_span() -> None:
    (fine,), (fault,) = spans_of(CALLER), spans_of(CALLER, is_fault=True)
    assert (fine.status.status_code, fault.status.status_code) == (StatusCode.UNSET, StatusCode.ERROR)


def test_what_the_caller_did_not_sample_is_not_sent() -> None:
    """A trace that the caller did not sample is not exported, but has IDs for the log."""
    tracer = OtelTracer(InMemorySpanExporter(), "1")
    trace = tracer.begin(CALLER._replace(is_sampled=False), "/predict")
    tracer.close()
    assert (trace.is_sampled, trace.trace_id, trace.exemplar) == (False, CALLER.trace_id, None)
    assert trace.span_id
    assert spans_of(CALLER._replace(is_sampled=False)) == []


def test_the_sampler_is_that_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    assert spans_of(CALLER) == []
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")
    assert spans_of(None) == []
    assert len(spans_of(CALLER)) == 1


def test_the_service_is_called_unroll_unless_the_environment_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    (span,) = spans_of(None)
    assert (span.resource.attributes["service.name"], span.resource.attributes["service.version"]) == (
        "unroll",
        "1.2.3",
    )
    monkeypatch.setenv("OTEL_SERVICE_NAME", "tags")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    (span,) = spans_of(None)
    assert span.resource.attributes["service.name"] == "tags"
    assert span.resource.attributes["deployment.environment.name"] == "test"


def test_complaints_are_one_line_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """Export errors are logged at most once a minute, with the number of suppressed messages."""
    handler = RateLimitedHandler()
    clock = [100.0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("service.observability.otel_tracer.time.monotonic", lambda: clock[0])
        for _ in range(200):
            handler.emit(logging.makeLogRecord({"msg": "connection refused"}))
            clock[0] += 0.5
    lines = [vars(record) for record in caplog.records]
    assert [(line["reason"], line["num_unsaid"]) for line in lines] == [
        ("connection refused", 0),
        ("connection refused", 119),
    ]


class StuckExporter(SpanExporter):
    """Exporter that blocks as with an unresponsive collector, until shut down."""

    def __init__(self) -> None:
        self.stopped = threading.Event()
        self.gave_up = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.stopped.wait()
        self.gave_up.set()
        return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        self.stopped.set()


def test_a_dead_collector_does_not_hold_up_the_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Closing the tracer shuts down a blocked exporter and logs that spans are lost."""
    monkeypatch.setattr("service.observability.otel_tracer._CLOSING_S", 0.05)
    exporter = StuckExporter()
    tracer = OtelTracer(exporter, "1")
    tracer.finish(traced(tracer.begin(None, "/predict")))
    tracer.close()
    assert exporter.gave_up.wait(PATIENCE_S)
    assert [record.message for record in caplog.records] == ["Shutdown before the last spans were exported"]
