"""A tally counts latencies, refusals, errors by kind, and the tokens of streams."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.cli.bench.load.connection import Reply
from service.cli.bench.load.tally import Tally, percentile, percentiles


def reply(status: int = 200, body: bytes = b"{}", latency_s: float = 0.1, has_retry_after: bool = False) -> Reply:
    return Reply(status, body, latency_s, has_retry_after)


def event(index: int, text: str | None = None) -> bytes:
    return b"data:%s\n\n" % json.dumps({"index": index, "generated_text": text}, separators=(",", ":")).encode()


def streamed(*pieces: tuple[float, bytes]) -> Tally:
    counted = Tally([b""], streams=True)
    body = b"".join(piece for _, piece in pieces)
    counted.note(0, Reply(200, body, pieces[-1][0], False, list(pieces)), counts=True)
    return counted


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=200))
def test_percentiles_are_those_of_numpy(values: list[float]) -> None:
    """The percentile is a value that was seen: the inverted distribution function, without interpolation."""
    shares = [0.01, 0.5, 0.9, 0.99, 1.0]
    expected = np.percentile(values, [100 * share for share in shares], method="inverted_cdf")
    assert percentiles(values, shares) == pytest.approx(expected.tolist(), abs=0)


def test_there_is_no_percentile_without_values() -> None:
    assert percentile([], 0.5) is None


def test_only_what_counts_enters_the_figures() -> None:
    counted = Tally([b""])
    for number in range(10):
        counted.note(0, reply(latency_s=number / 10), counts=number >= 5)
    found = counted.summary(seconds=2)
    assert (found["answered"], found["rate"], found["p50_ms"], found["max_ms"]) == (5, 2.5, 700.0, 900.0)


def test_refusals_are_no_errors_and_are_asked_for_their_hint() -> None:
    counted = Tally([b""])
    counted.note(0, reply(429, has_retry_after=True, latency_s=0.001), counts=True)
    counted.note(0, reply(503, latency_s=0.003), counts=True)
    counted.note(0, reply(500), counts=True)
    found = counted.summary(1)
    assert (found["refused"], found["refused_without_retry_after"], found["errors"]) == (2, 1, 1)
    assert (found["refused_max_ms"], found["answered"]) == (3.0, 0)


def test_errors_are_counted_by_kind_with_the_first_message_of_each() -> None:
    counted = Tally([b""])
    for number in range(3):
        body = {"error": f"the text is empty, request {number}", "error_type": "validation"}
        counted.note(0, reply(422, json.dumps(body).encode()), counts=True)
    counted.note(0, reply(502, b"<html>\nbad gateway"), counts=True)
    counted.fail("connection lost")
    assert counted.summary(1)["error_kinds"] == {"HTTP 422 validation": 3, "HTTP 502": 1, "connection lost": 1}
    assert counted.samples == {
        "HTTP 422 validation": "the text is empty, request 0",
        "HTTP 502": "<html> bad gateway",
    }


def test_the_tokens_of_a_stream_are_timed() -> None:
    """The second piece has two tokens, which arrive together; an empty one, such as a ping, has none."""
    counted = streamed((0.2, event(1)), (0.5, event(2) + event(3)), (0.6, b"\n"), (0.7, event(4, "text")))
    assert counted.tokens == 4
    assert list(counted.first_tokens_s) == [0.2]
    assert list(counted.between_tokens_s) == pytest.approx([0.3, 0.0, 0.2])


@pytest.mark.parametrize(
    ("last", "kind"),
    [
        (event(2), "a stream ended early"),
        (b'data:{"error":"too late","error_type":"timeout"}\n\n', "error in a stream: timeout"),
        (b"data:{oops", "a stream ended early"),
    ],
)
def test_a_stream_without_its_end_is_an_error(last: bytes, kind: str) -> None:
    counted = streamed((0.1, event(1)), (0.2, last))
    figures: dict[str, Any] = counted.summary(1)
    assert (figures["error_kinds"], figures["answered"], figures["tokens_per_s"]) == ({kind: 1}, 0, 0.0)
