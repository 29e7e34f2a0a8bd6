"""A tracer on OpenTelemetry's SDK. Imported only if tracing is on, because the library is an extra."""

from __future__ import annotations

import logging
import random
import threading
import time

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from service.observability.spans import Stage, TracedRequest
from service.observability.trace_context import Trace

logger = logging.getLogger(__name__)

_CLOSING_S = 2.0
_WARN_EVERY_S = 60.0

_OK, _FAULT = Status(StatusCode.UNSET), Status(StatusCode.ERROR)


class OtelTracer:
    """A `Tracer` that exports spans in batches, from a thread of its own; the `OTEL_BSP_*` variables configure it.

    Spans are created as finished, in the form that exporters read: starting and ending live ones takes four times as
    long.
    """

    def __init__(self, exporter: SpanExporter, version: str) -> None:
        ours = Resource.create({"service.name": "unroll", "service.version": version})
        self._resource = ours.merge(OTELResourceDetector().detect())  # the environment takes precedence
        self._scope = InstrumentationScope("unroll", version)
        self._sampler = TracerProvider(shutdown_on_exit=False).sampler  # as OTEL_TRACES_SAMPLER says
        self._exporter = exporter
        self._processor = BatchSpanProcessor(exporter)
        self._random = random.Random()

    def begin(self, caller: Trace | None, name: str) -> Trace:
        """See `Tracer`."""
        trace = caller or Trace(f"{self._random.getrandbits(128) or 1:032x}", is_sampled=False)
        sampling = self._sampler.should_sample(_context(caller), int(trace.trace_id, 16), name, SpanKind.SERVER)
        is_sampled = sampling.decision is Decision.RECORD_AND_SAMPLE
        return trace._replace(span_id=f"{self._new_span_id():016x}", is_sampled=is_sampled)

    def finish(self, request: TracedRequest) -> None:
        """See `Tracer`."""
        if not request.trace.is_sampled:
            return
        epoch_ns = time.time_ns() - time.monotonic_ns()
        whole = _span_context(request.trace, request.trace.span_id)
        for stage in request.stages:
            self._processor.on_end(self._stage_span(stage, whole, epoch_ns))
        self._processor.on_end(self._request_span(request, whole, epoch_ns))

    def close(self) -> None:
        """See `Tracer`."""
        closing = threading.Thread(target=self._processor.shutdown, name="close-tracing", daemon=True)
        closing.start()
        closing.join(_CLOSING_S)
        if closing.is_alive():
            logger.warning("Shutdown before the last spans were exported", extra={"waited_s": _CLOSING_S})
            self._exporter.shutdown()  # ends its pauses between retries

    def _request_span(self, request: TracedRequest, context: SpanContext, epoch_ns: int) -> ReadableSpan:
        trace = request.trace
        return ReadableSpan(
            request.name,
            context,
            _span_context(trace, trace.parent_id, is_remote=True) if trace.parent_id else None,
            self._resource,
            request.attributes,
            kind=SpanKind.SERVER,
            status=_FAULT if request.is_fault else _OK,
            start_time=_at_ns(request.started_s, epoch_ns),
            end_time=_at_ns(request.ended_s, epoch_ns),
            instrumentation_scope=self._scope,
        )

    def _stage_span(self, stage: Stage, whole: SpanContext, epoch_ns: int) -> ReadableSpan:
        return ReadableSpan(
            stage.name,
            SpanContext(whole.trace_id, self._new_span_id(), False, whole.trace_flags, whole.trace_state),
            whole,
            self._resource,
            stage.attributes,
            [Event(name, timestamp=_at_ns(moment_s, epoch_ns)) for name, moment_s in stage.events.items()],
            start_time=_at_ns(stage.started_s, epoch_ns),
            end_time=_at_ns(stage.ended_s, epoch_ns),
            instrumentation_scope=self._scope,
        )

    def _new_span_id(self) -> int:
        return self._random.getrandbits(64) or 1  # 0 means none


class RateLimitedHandler(logging.Handler):
    """Warnings of the library, such as an unreachable collector, at most one line a minute."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._quiet_until_s = 0.0
        self._num_unsaid = 0

    def emit(self, record: logging.LogRecord) -> None:
        now_s = time.monotonic()
        if now_s < self._quiet_until_s:
            self._num_unsaid += 1
            return
        fields = {"reason": record.getMessage(), "num_unsaid": self._num_unsaid}
        self._quiet_until_s, self._num_unsaid = now_s + _WARN_EVERY_S, 0
        logger.warning("Exporting spans failed", extra=fields)


def open_sdk_tracer(version: str) -> OtelTracer:
    """A tracer that exports to the endpoint in the standard variables."""
    library = logging.getLogger("opentelemetry")
    library.handlers[:], library.propagate = [RateLimitedHandler()], False
    logging.getLogger("opentelemetry.trace").setLevel(logging.ERROR)  # its warnings quote request data
    return OtelTracer(OTLPSpanExporter(), version)


def _context(caller: Trace | None) -> Context:
    """The context for a sampler: the caller's span, or none."""
    if caller is None:
        return Context()
    return set_span_in_context(NonRecordingSpan(_span_context(caller, caller.parent_id, is_remote=True)), Context())


def _span_context(trace: Trace, span_id: str, *, is_remote: bool = False) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED if trace.is_sampled else TraceFlags.DEFAULT)
    state = TraceState.from_header([trace.state]) if trace.state else None
    return SpanContext(int(trace.trace_id, 16), int(span_id, 16), is_remote, flags, state)


def _at_ns(moment_s: float, epoch_ns: int) -> int:
    """A moment of `time.monotonic()` in nanoseconds since 1970."""
    return epoch_ns + round(moment_s * 1e9)
