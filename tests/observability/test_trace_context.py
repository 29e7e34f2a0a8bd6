"""`traceparent` is parsed according to W3C Trace Context, and ignored if invalid."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.request_record import RequestRecord
from service.observability.trace_context import Trace, parse_traceparent

TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_ids_and_the_sampled_flag_are_read() -> None:
    trace = parse_traceparent(f"00-{TRACE_ID}-{SPAN_ID}-01".encode(), b"vendor=value")
    assert trace == Trace(TRACE_ID, True, SPAN_ID, "", "vendor=value")
    assert trace is not None
    assert trace.exemplar == {"trace_id": TRACE_ID}


@pytest.mark.parametrize(
    ("flags", "is_sampled"), [("00", False), ("01", True), ("02", False), ("03", True), ("ff", True)]
)
def test_only_the_lowest_flag_means_sampled(flags: str, is_sampled: bool) -> None:
    """Only the lowest flag means sampled; other flags are ignored, and unsampled traces make no exemplar."""
    trace = parse_traceparent(f"00-{TRACE_ID}-{SPAN_ID}-{flags}".encode())
    assert trace is not None
    assert trace.is_sampled is is_sampled
    assert (trace.exemplar is not None) is is_sampled


@pytest.mark.parametrize("header", [f"cc-{TRACE_ID}-{SPAN_ID}-01", f"01-{TRACE_ID}-{SPAN_ID}-01-what-will-be"])
def test_versions_to_come_are_read_as_far_as_they_are_known(header: str) -> None:
    trace = parse_traceparent(header.encode())
    assert trace is not None
    assert (trace.trace_id, trace.parent_id) == (TRACE_ID, SPAN_ID)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00",
        f"ff-{TRACE_ID}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{SPAN_ID}-01-more",
        f"00-{TRACE_ID}-{SPAN_ID}-01.",
        f"cc-{TRACE_ID}-{SPAN_ID}-01.more",
        f"00-{'0' * 32}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"00-{TRACE_ID.upper()}-{SPAN_ID}-01",
        f"00-{TRACE_ID[:-1]}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{SPAN_ID}-1",
        f"00-{TRACE_ID}-{SPAN_ID}-01\nforged: line",
        f"00_{TRACE_ID}_{SPAN_ID}_01",
    ],
)
def test_what_breaks_a_rule_is_as_if_it_were_absent(header: str) -> None:
    assert parse_traceparent(header.encode()) is None


def test_a_trace_state_beyond_what_must_be_passed_on_is_dropped_and_the_trace_kept() -> None:
    trace = parse_traceparent(f"00-{TRACE_ID}-{SPAN_ID}-01".encode(), b"a=" + b"x" * 511)
    assert trace == Trace(TRACE_ID, True, SPAN_ID)


@given(st.binary(max_size=120))
def test_any_bytes_are_taken(header: bytes) -> None:
    """Arbitrary bytes give a valid trace context or none."""
    trace = parse_traceparent(header, header)
    assert trace is None or set(trace.trace_id + trace.parent_id) <= set("0123456789abcdef")


def test_the_record_of_a_request_finds_the_headers() -> None:
    headers = [(b"host", b"x"), (b"traceparent", f"00-{TRACE_ID}-{SPAN_ID}-01".encode()), (b"tracestate", b"a=1")]
    assert RequestRecord.of("/predict", headers).trace == Trace(TRACE_ID, True, SPAN_ID, "", "a=1")
    assert RequestRecord.of("/predict", headers[:1]).trace is None
    assert RequestRecord.of("/predict", headers[:1]).exemplar is None
