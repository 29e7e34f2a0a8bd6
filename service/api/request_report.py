"""The access log line and the trace spans of a finished request."""

from __future__ import annotations

from typing import Any

from service.api.request_record import RequestRecord, StreamTimes
from service.observability.metrics import NO_MODEL
from service.observability.spans import Stage, TracedRequest
from service.observability.timings import Timings
from service.observability.trace_context import Trace

#: Outcomes that are faults of the service, not of the client.
_FAULTS = frozenset({"internal", "inference_failed", "generation", "not_ready", "deadline_exceeded"})


def log_fields(record: RequestRecord, method: str, duration_s: float) -> dict[str, Any]:
    """The fields of the access log line."""
    fields: dict[str, Any] = {
        "method": method,
        "route": record.route,
        "status": record.status,
        "outcome": record.outcome,
        "duration_ms": round(duration_s * 1000, 3),
    }
    if record.grpc_status:
        fields["grpc_status"] = record.grpc_status
    if record.client:
        fields["client"] = record.client
    if record.caller is not None and record.caller.identity:
        fields["key"] = record.caller.name
    if record.path:
        fields["path"] = record.path
    if record.model != NO_MODEL:
        fields["model"], fields["version"], fields["task"] = record.model, record.version, record.task
    if record.rejection:
        fields["rejection"] = record.rejection
    if record.timings is not None:
        fields |= record.timings._asdict()
    if record.stream_times is not None:
        fields |= _stream_fields(record.stream_times)
    if record.texts:
        fields["texts"] = list(record.texts)
    return fields


def traced_request(record: RequestRecord, trace: Trace, method: str, duration_s: float) -> TracedRequest:
    """The request for a tracer. Attribute names follow OpenTelemetry's conventions; our own begin with `unroll.`"""
    attributes: dict[str, str | int] = {
        "http.request.method": method,
        "http.route": record.route,
        "url.path": record.route,
        "unroll.request_id": record.request_id,
    }
    if record.status:  # absent if the client disconnected first
        attributes["http.response.status_code"] = record.status
    if record.grpc_status:
        service, method_name = record.route.lstrip("/").split("/")
        attributes |= {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method_name}
        attributes["rpc.grpc.status"] = record.grpc_status
    if record.outcome != "ok":
        attributes["error.type"] = record.outcome
    if record.model != NO_MODEL:
        attributes |= {"unroll.model": record.model, "unroll.version": record.version, "unroll.task": record.task}
    if record.timings is not None:
        attributes["unroll.batch_size"] = record.timings.batch_size
    ended_s = record.started_s + duration_s
    is_fault = record.outcome in _FAULTS
    name = f"{method} {record.route}"
    return TracedRequest(trace, name, record.started_s, ended_s, attributes, is_fault, _stages(record, ended_s))


def _stream_fields(times: StreamTimes) -> dict[str, float | int]:
    """Durations of the stages that a generation has reached."""
    joined_s = times.joined_s or times.ended_s
    fields = {
        "preprocess_ms": _ms(times.queued_s - times.begun_s),
        "queue_ms": _ms(joined_s - times.queued_s),
        "inference_ms": _ms(times.ended_s - joined_s),
        "generated_tokens": times.num_tokens,
    }
    return fields | {"first_token_ms": _ms(times.first_token_s - times.queued_s)} if times.first_token_s else fields


def _stages(record: RequestRecord, ended_s: float) -> list[Stage]:
    if record.stream_times is not None:
        return _stages_of_stream(record.stream_times)
    if record.timings is not None:
        return _stages_of_prediction(record.timings, record.timed_s, ended_s)
    return []


def _stages_of_stream(times: StreamTimes) -> list[Stage]:
    joined_s = times.joined_s or times.ended_s
    stages = [
        Stage("preprocess", times.begun_s, times.queued_s),
        Stage("queue", times.queued_s, joined_s),
    ]
    if times.joined_s:
        events = {"first_token": times.first_token_s} if times.first_token_s else {}
        stages.append(Stage("run", joined_s, times.ended_s, {"unroll.tokens": times.num_tokens}, events))
    return stages


def _stages_of_prediction(timings: Timings, timed_s: float, request_ended_s: float) -> list[Stage]:
    """Counted back from the end of the last stage. Durations are rounded, so stages are kept in order."""
    preprocess_s = timed_s - timings.total_ms / 1000
    queue_s = preprocess_s + timings.preprocess_ms / 1000
    run_s = queue_s + timings.queue_ms / 1000
    handed_over_s = run_s + timings.inference_ms / 1000
    postprocess_s = max(handed_over_s, timed_s - timings.postprocess_ms / 1000)
    batch_size = {"unroll.batch_size": timings.batch_size}
    return [
        Stage("preprocess", preprocess_s, queue_s),
        Stage("queue", queue_s, run_s),
        Stage("run", run_s, handed_over_s, batch_size),
        Stage("postprocess", postprocess_s, min(request_ended_s, max(postprocess_s, timed_s))),
    ]


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
