"""A tally counts latencies, refusals and errors correctly."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.load.client.tally import Reply, Tally, percentile

from tests.load.workload.dialects import Question

QUESTIONS = [Question(b"", [1, 2, 3], 3), Question(b"", [4], 1)]


def tally() -> Tally:
    return Tally(QUESTIONS, lambda answer: answer["labels"])


def reply(labels: object, latency_s: float = 0.1, status: int = 200, has_retry_after: bool = False) -> Reply:
    return Reply(status, json.dumps({"labels": labels}).encode(), latency_s, has_retry_after)


def test_percentiles_are_values_that_were_seen() -> None:
    assert [percentile(range(1, 101), share) for share in (0.5, 0.9, 0.99, 1.0)] == [50, 90, 99, 100]
    assert percentile([], 0.5) is None


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=200), st.sampled_from([0.5, 0.9, 0.99, 1.0]))
def test_at_least_the_share_of_values_is_within_a_percentile(values: list[float], share: float) -> None:
    bound = percentile(values, share)
    assert bound in values
    assert sum(value <= bound for value in values) >= share * len(values) - 1e-9


def test_right_answers_are_counted_with_their_tokens() -> None:
    counted = tally()
    counted.note(0, reply([1, 2, 3], latency_s=0.2), counts=True)
    counted.note(1, reply([4], latency_s=0.4), counts=True)
    found = counted.summary(seconds=2)
    assert (found["rate"], found["tokens_per_s"], found["wrong"], found["checked"]) == (1.0, 2.0, 0, 2)
    assert (found["p50_ms"], found["max_ms"]) == (200.0, 400.0)


@pytest.mark.parametrize("labels", [[1, 2, 9], [1, 2], "none", None])
def test_another_answer_than_the_right_one_is_wrong(labels: object) -> None:
    """A wrong answer is counted as wrong, also during warm-up."""
    counted = tally()
    counted.note(0, reply(labels), counts=False)
    assert counted.summary(1)["wrong"] == 1
    assert counted.summary(1)["samples"]


def test_an_answer_that_is_no_json_is_wrong() -> None:
    counted = tally()
    counted.note(0, Reply(200, b"<html>", 0.1, False), counts=True)
    assert counted.wrong == 1


def test_agreement_is_the_share_of_equal_labels() -> None:
    counted = tally()
    counted.note(0, reply([1, 2, 9]), counts=True)
    counted.note(1, reply([4]), counts=True)
    assert counted.summary(1)["agreement"] == 0.75


def test_refusals_are_no_errors_and_are_asked_for_their_hint() -> None:
    counted = tally()
    counted.note(0, reply(None, status=429, has_retry_after=True, latency_s=0.001), counts=True)
    counted.note(0, reply(None, status=503, latency_s=0.003), counts=True)
    counted.note(0, reply(None, status=500), counts=True)
    found = counted.summary(1)
    assert (found["refused"], found["refused_without_retry_after"], found["errors"]) == (2, 1, 1)
    assert (found["refused_max_ms"], found["answered"]) == (3.0, 0)
